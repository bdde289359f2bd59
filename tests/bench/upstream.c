/* A model server that costs nothing: epoll, one thread, static answers.
 *
 * usage: upstream PORT:DELAY_MS:CHUNKS ...
 *
 * A POST whose body says "stream":true gets CHUNKS content deltas, one send() each, DELAY_MS apart. Every delta carries
 * the nanoseconds of CLOCK_MONOTONIC at its send as @T<ns>@. Any other POST gets one completion, any GET a model list.
 * Prints "ready" once every port listens; ends when its standard input does.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { MAX_FDS = 8192, MAX_PORTS = 8, QUEUE = 1 << 14, BODY_CAP = 64 << 20, EVENTS = 256 };

static const char ANSWER[] =
    "{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"m\",\"choices\":[{\"index\":0,"
    "\"message\":{\"role\":\"assistant\",\"content\":\"The parser reads one line at a time and keeps the last error, so a "
    "caller sees where a file went wrong.\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":400,"
    "\"completion_tokens\":24,\"total_tokens\":424}}";
static const char MODELS[] =
    "{\"object\":\"list\",\"data\":[{\"id\":\"m\",\"object\":\"model\",\"created\":1700000000,\"owned_by\":\"bench\"}]}";
static const char STREAM_HEAD[] =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n\r\n";
#define EVENT_HEAD \
    "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"m\",\"choices\":["
static const char ROLE[] = EVENT_HEAD "{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
static const char DELTA[] = EVENT_HEAD "{\"index\":0,\"delta\":{\"content\":\"@T%lld@ word%d \"},\"finish_reason\":null}]}\n\n";
static const char LAST[] = EVENT_HEAD "{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
static const char USAGE[] = EVENT_HEAD
    "],\"usage\":{\"prompt_tokens\":400,\"completion_tokens\":200,\"total_tokens\":600}}\n\n";
static const char DONE[] = "data: [DONE]\n\n";

struct conn {
    int live, port;    /* port: index of the listener */
    unsigned gen;      /* tells a queue entry of a closed connection from its successor on the same descriptor */
    char *in;
    size_t in_len, in_cap;
    char *out;         /* what the kernel did not take yet */
    size_t out_len;
    int chunks_left;   /* -1: no stream runs */
    int close_after;
};
struct entry { int fd; unsigned gen; int64_t due; };
struct listener {
    int64_t delay;     /* ns */
    int chunks;
    struct entry queue[QUEUE]; /* the delay is constant, so the order of arrival is the order of due times */
    unsigned head, tail;
};

static struct conn conns[MAX_FDS];
static struct listener ports[MAX_PORTS];
static int listen_fds[MAX_PORTS], port_count, ep;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void watch(int fd, int op, uint32_t events) {
    struct epoll_event e = {.events = events, .data.fd = fd};
    if (epoll_ctl(ep, op, fd, &e) < 0) die("epoll_ctl");
}

static void drop(int fd) {
    struct conn *c = &conns[fd];
    free(c->in);
    free(c->out);
    unsigned gen = c->gen + 1;
    memset(c, 0, sizeof *c);
    c->gen = gen;
    close(fd);
}

/* Returns 0 when all went out, 1 when the rest waits for EPOLLOUT, -1 when the connection is gone. */
static int put(int fd, const char *data, size_t len) {
    struct conn *c = &conns[fd];
    ssize_t sent = 0;
    if (c->out_len == 0) {
        sent = send(fd, data, len, MSG_NOSIGNAL);
        if (sent < 0) {
            if (errno != EAGAIN) { drop(fd); return -1; }
            sent = 0;
        }
        if ((size_t)sent == len) return 0;
        watch(fd, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
    }
    c->out = realloc(c->out, c->out_len + len - sent);
    memcpy(c->out + c->out_len, data + sent, len - sent);
    c->out_len += len - sent;
    return 1;
}

static void schedule(int fd) {
    struct conn *c = &conns[fd];
    struct listener *l = &ports[c->port];
    if (l->tail - l->head == QUEUE) { fprintf(stderr, "upstream: too many streams\n"); exit(1); }
    l->queue[l->tail++ % QUEUE] = (struct entry){fd, c->gen, now_ns() + l->delay};
}

static size_t frame(char *to, const char *text, size_t len) {
    int n = sprintf(to, "%zx\r\n", len);
    memcpy(to + n, text, len);
    memcpy(to + n + len, "\r\n", 2);
    return n + len + 2;
}

static void next_chunk(int fd) {
    struct conn *c = &conns[fd];
    char text[1024], wire[2048];
    size_t len;
    if (c->chunks_left > 0) {
        int n = sprintf(text, DELTA, (long long)now_ns(), c->chunks_left);
        len = frame(wire, text, n);
        c->chunks_left--;
        if (put(fd, wire, len) == 0) schedule(fd);
        return;
    }
    len = frame(wire, LAST, sizeof LAST - 1);
    len += frame(wire + len, USAGE, sizeof USAGE - 1);
    len += frame(wire + len, DONE, sizeof DONE - 1);
    memcpy(wire + len, "0\r\n\r\n", 5);
    c->chunks_left = -1;
    put(fd, wire, len + 5);
}

static void answer(int fd, int get, const char *body, size_t body_len) {
    struct conn *c = &conns[fd];
    char wire[2048];
    int stream = !get && (memmem(body, body_len, "\"stream\":true", 13) || memmem(body, body_len, "\"stream\": true", 14));
    if (stream) {
        size_t len = sizeof STREAM_HEAD - 1;
        memcpy(wire, STREAM_HEAD, len);
        len += frame(wire + len, ROLE, sizeof ROLE - 1);
        c->chunks_left = ports[c->port].chunks;
        if (put(fd, wire, len) == 0) next_chunk(fd);
        return;
    }
    const char *json = get ? MODELS : ANSWER;
    int n = sprintf(wire, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s", strlen(json), json);
    put(fd, wire, n);
}

static void refuse(int fd, const char *status) {
    char wire[256];
    int n = sprintf(wire, "HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", status);
    conns[fd].close_after = 1;
    if (put(fd, wire, n) == 0) drop(fd);
}

/* Answers the first request in the buffer if it is whole; returns 1 when another may follow. */
static int take_request(int fd) {
    struct conn *c = &conns[fd];
    char *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
    if (!end) return 0;
    size_t head = end + 4 - c->in, length = 0;
    *end = 0;
    char *field = strcasestr(c->in, "\r\ncontent-length:");
    if (field) length = strtoul(field + 17, NULL, 10);
    int chunked = strcasestr(c->in, "\r\ntransfer-encoding:") != NULL, get = !strncmp(c->in, "GET ", 4);
    *end = '\r';
    if (chunked) { refuse(fd, "411 Length Required"); return 0; }
    if (length > BODY_CAP) { refuse(fd, "413 Too Large"); return 0; }
    if (c->in_len < head + length) return 0;
    unsigned gen = c->gen;
    answer(fd, get, c->in + head, length);
    if (c->gen != gen) return 0;
    memmove(c->in, c->in + head + length, c->in_len - head - length);
    c->in_len -= head + length;
    return c->in_len > 0;
}

static void readable(int fd) {
    struct conn *c = &conns[fd];
    for (;;) {
        if (c->in_cap - c->in_len < 65536) {
            c->in_cap = c->in_cap ? c->in_cap * 2 : 131072;
            if (c->in_cap > 2u * BODY_CAP) { drop(fd); return; }
            c->in = realloc(c->in, c->in_cap);
        }
        size_t room = c->in_cap - c->in_len;
        ssize_t n = recv(fd, c->in + c->in_len, room, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN)) { drop(fd); return; }
        if (n < 0) break;
        c->in_len += n;
        if ((size_t)n < room) break;
    }
    while (c->live && take_request(fd)) {}
}

static void writable(int fd) {
    struct conn *c = &conns[fd];
    ssize_t n = send(fd, c->out, c->out_len, MSG_NOSIGNAL);
    if (n < 0) {
        if (errno != EAGAIN) drop(fd);
        return;
    }
    memmove(c->out, c->out + n, c->out_len - n);
    c->out_len -= n;
    if (c->out_len) return;
    watch(fd, EPOLL_CTL_MOD, EPOLLIN);
    if (c->close_after) drop(fd);
    else if (c->chunks_left >= 0) schedule(fd);
}

static void welcome(int which) {
    for (;;) {
        int fd = accept4(listen_fds[which], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), one = 1;
        if (fd < 0) return;
        if (fd >= MAX_FDS) { close(fd); return; }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        conns[fd].live = 1;
        conns[fd].port = which;
        conns[fd].chunks_left = -1;
        watch(fd, EPOLL_CTL_ADD, EPOLLIN);
    }
}

/* Sends what is due; returns when the next chunk is, or 0 for never. */
static int64_t run_due(void) {
    int64_t next = 0;
    for (int i = 0; i < port_count; i++) {
        struct listener *l = &ports[i];
        int64_t now = now_ns();
        unsigned stop = l->tail; /* without a delay the queue never empties: one chunk each, then the sockets again */
        while (l->head != stop && l->queue[l->head % QUEUE].due <= now) {
            struct entry e = l->queue[l->head++ % QUEUE];
            if (conns[e.fd].live && conns[e.fd].gen == e.gen) next_chunk(e.fd);
        }
        if (l->head != l->tail && (!next || l->queue[l->head % QUEUE].due < next)) next = l->queue[l->head % QUEUE].due;
    }
    return next;
}

static int open_port(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), one = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0) die("bind");
    if (listen(fd, 4096) < 0) die("listen");
    return fd;
}

int main(int argc, char **argv) {
    if (argc < 2 || argc - 1 > MAX_PORTS) { fprintf(stderr, "usage: upstream PORT:DELAY_MS:CHUNKS ...\n"); return 2; }
    signal(SIGPIPE, SIG_IGN);
    ep = epoll_create1(EPOLL_CLOEXEC);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    watch(timer, EPOLL_CTL_ADD, EPOLLIN);
    watch(0, EPOLL_CTL_ADD, EPOLLIN);
    for (int i = 1; i < argc; i++, port_count++) {
        int port, delay;
        if (sscanf(argv[i], "%d:%d:%d", &port, &delay, &ports[port_count].chunks) != 3) { fprintf(stderr, "bad port: %s\n", argv[i]); return 2; }
        ports[port_count].delay = (int64_t)delay * 1000000;
        listen_fds[port_count] = open_port(port);
        watch(listen_fds[port_count], EPOLL_CTL_ADD, EPOLLIN);
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        int64_t next = run_due(), now = now_ns();
        if (next > now) {
            struct itimerspec at = {.it_value = {.tv_sec = next / 1000000000, .tv_nsec = next % 1000000000}};
            timerfd_settime(timer, TFD_TIMER_ABSTIME, &at, NULL);
        }
        struct epoll_event events[EVENTS];
        int n = epoll_wait(ep, events, EVENTS, next && next <= now ? 0 : -1);
        if (n < 0 && errno != EINTR) die("epoll_wait");
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd, listener = -1;
            uint64_t ticks;
            if (fd == timer) { (void)!read(timer, &ticks, sizeof ticks); continue; }
            if (fd == 0) return 0;
            for (int j = 0; j < port_count; j++) if (listen_fds[j] == fd) listener = j;
            if (listener >= 0) { welcome(listener); continue; }
            if (!conns[fd].live) continue;
            if (events[i].events & EPOLLOUT) writable(fd);
            if (conns[fd].live && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(fd);
        }
    }
}
