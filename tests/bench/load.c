/* A closed loop of HTTP/1.1 callers on kept connections: epoll, one thread.
 *
 * usage: load PORT CONNECTIONS SECONDS REQUEST-FILE MARKER [CHUNKS RAMP_MS]
 *
 * REQUEST-FILE is the request as it goes over the wire. Every answer must be a 200 that ends as HTTP says; a plain one
 * must contain MARKER, a streamed one exactly CHUNKS stamps @T<ns>@. After SECONDS no request starts; those that run end.
 * RAMP_MS spreads the first requests. Prints one JSON object; times are microseconds. The delay of a chunk is the time of
 * its read here minus the stamp, both CLOCK_MONOTONIC of one machine. ttft is the first stamp read minus the request sent.
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
#include <time.h>
#include <unistd.h>

enum { MAX_CONNS = 4096, HEAD_CAP = 65536, BODY_KEEP = 65536, EVENTS = 256, GRACE_S = 20, MAX_ERRORS = 200 };
enum body_kind { BY_LENGTH, CHUNKED };
enum chunk_state { SIZE, SIZE_REST, DATA, DATA_CR, DATA_LF, TRAILER };

struct samples { int64_t *at; size_t len, cap; };
struct conn {
    int fd, busy, in_body, status;
    size_t written;
    int64_t sent_at, start_at;
    char *head, *body; /* body: the first BODY_KEEP bytes of a plain answer, for the marker and for error texts */
    size_t head_len, body_len;
    enum body_kind kind;
    enum chunk_state chunk;
    int64_t left; /* bytes of the body or of the chunk */
    int line_len; /* bytes seen of a chunk size or a trailer line */
    int stamp;    /* 0 outside, 1 after '@', 2 inside the digits */
    int64_t value;
    int stamps;
};

static struct conn *conns;
static struct samples latency, ttft, delay;
static const char *marker;
static char *request;
static size_t request_len;
static int ep, port, want_chunks, errors, running;
static long finished, total_chunks;
static int64_t deadline;
static char first_error[512];

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void note(struct samples *s, int64_t value) {
    if (s->len == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 4096;
        s->at = realloc(s->at, s->cap * sizeof *s->at);
    }
    s->at[s->len++] = value;
}

static int order(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile(struct samples *s, double p) {
    if (!s->len) return 0;
    size_t i = (size_t)(p * (s->len - 1) + 0.5);
    return s->at[i] / 1000.0;
}

static void watch(struct conn *c, int op, uint32_t events) {
    struct epoll_event e = {.events = events, .data.ptr = c};
    epoll_ctl(ep, op, c->fd, &e);
}

static void reset(struct conn *c) {
    c->busy = c->in_body = c->status = c->stamp = c->stamps = c->line_len = 0;
    c->written = c->head_len = c->body_len = 0;
    c->chunk = SIZE;
    c->left = c->value = 0;
}

static void hang_up(struct conn *c) {
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    if (c->busy) running--;
    reset(c);
}

static void fail(struct conn *c, const char *why) {
    if (errors++ == 0)
        snprintf(first_error, sizeof first_error, "%s (status %d): %.*s", why, c->status, (int)(c->body_len < 300 ? c->body_len : 300), c->body);
    hang_up(c);
}

static void push_request(struct conn *c) {
    while (c->written < request_len) {
        ssize_t n = send(c->fd, request + c->written, request_len - c->written, MSG_NOSIGNAL);
        if (n < 0 && errno == EAGAIN) { watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT); return; }
        if (n < 0) { fail(c, "send failed"); return; }
        c->written += n;
    }
    watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void begin(struct conn *c) {
    if (c->fd < 0) {
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
        int one = 1;
        c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        watch(c, EPOLL_CTL_ADD, EPOLLIN | EPOLLOUT);
        c->busy = 1;
        running++;
        c->sent_at = now_ns();
        if (connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) fail(c, "connect failed");
        return; /* EPOLLOUT writes the request */
    }
    c->busy = 1;
    running++;
    c->sent_at = now_ns();
    ssize_t n = send(c->fd, request, request_len, MSG_NOSIGNAL); /* the usual case needs no epoll_ctl */
    if (n == (ssize_t)request_len) { c->written = request_len; return; }
    if (n < 0 && errno != EAGAIN) { fail(c, "send failed"); return; }
    c->written = n < 0 ? 0 : n;
    watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void complete(struct conn *c) {
    int64_t now = now_ns();
    if (c->status != 200) { fail(c, "not a 200"); return; }
    if (want_chunks && c->stamps != want_chunks) {
        char why[64];
        snprintf(why, sizeof why, "%d of %d chunks", c->stamps, want_chunks);
        fail(c, why);
        return;
    }
    if (!want_chunks && !memmem(c->body, c->body_len, marker, strlen(marker))) { fail(c, "marker missing"); return; }
    note(&latency, now - c->sent_at);
    finished++;
    running--;
    reset(c);
}

static void stamp(struct conn *c, int64_t now) {
    if (c->stamps == 0) note(&ttft, now - c->sent_at);
    note(&delay, now - c->value);
    c->stamps++;
    total_chunks++;
}

static void payload(struct conn *c, const char *data, size_t len, int64_t now) {
    size_t keep = BODY_KEEP - c->body_len < len ? BODY_KEEP - c->body_len : len;
    if (!want_chunks || c->body_len < 300) {
        memcpy(c->body + c->body_len, data, keep);
        c->body_len += keep;
    }
    if (!want_chunks) return;
    for (size_t i = 0; i < len; i++) {
        char b = data[i];
        if (c->stamp == 2 && b >= '0' && b <= '9') c->value = c->value * 10 + (b - '0');
        else if (c->stamp == 2 && b == '@') { stamp(c, now); c->stamp = 0; }
        else if (c->stamp == 1 && b == 'T') { c->stamp = 2; c->value = 0; }
        else c->stamp = b == '@';
    }
}

/* Both return 1 when the body has ended; *used says how many bytes they took. */
static int eat_chunked(struct conn *c, const char *data, size_t len, size_t *used, int64_t now) {
    size_t i = 0;
    while (i < len) {
        char b = data[i];
        if (c->chunk == DATA) {
            size_t n = (int64_t)(len - i) < c->left ? len - i : (size_t)c->left;
            payload(c, data + i, n, now);
            i += n;
            c->left -= n;
            if (c->left == 0) c->chunk = DATA_CR;
            continue;
        }
        i++;
        if (c->chunk == DATA_CR) c->chunk = DATA_LF;
        else if (c->chunk == DATA_LF) { c->chunk = SIZE; c->left = 0; }
        else if (c->chunk == TRAILER) {
            if (b == '\n' && c->line_len == 0) { *used = i; return 1; }
            if (b == '\n') c->line_len = 0;
            else if (b != '\r') c->line_len++;
        } else if (b == '\n') {
            c->chunk = c->left ? DATA : TRAILER;
            c->line_len = 0;
        } else if (c->chunk == SIZE) {
            int digit = b >= '0' && b <= '9' ? b - '0' : (b | 32) >= 'a' && (b | 32) <= 'f' ? (b | 32) - 'a' + 10 : -1;
            if (digit < 0) c->chunk = SIZE_REST;
            else c->left = c->left * 16 + digit;
        }
    }
    *used = i;
    return 0;
}

static int eat_length(struct conn *c, const char *data, size_t len, size_t *used, int64_t now) {
    *used = (int64_t)len < c->left ? len : (size_t)c->left;
    payload(c, data, *used, now);
    c->left -= *used;
    return c->left == 0;
}

/* Takes the head out of the first bytes; returns how many belonged to it, or -1 when the answer is none. */
static ssize_t eat_head(struct conn *c, const char *data, size_t len) {
    size_t before = c->head_len, room = HEAD_CAP - 1 - before, n = len < room ? len : room;
    memcpy(c->head + before, data, n);
    c->head_len += n;
    c->head[c->head_len] = 0;
    char *end = memmem(c->head, c->head_len, "\r\n\r\n", 4);
    if (!end) return c->head_len >= HEAD_CAP - 1 ? -1 : (ssize_t)n;
    if (sscanf(c->head, "HTTP/1.%*d %d", &c->status) != 1) return -1;
    *end = 0;
    char *length = strcasestr(c->head, "\r\ncontent-length:"), *encoding = strcasestr(c->head, "\r\ntransfer-encoding:");
    if (!length && !encoding) return -1;
    c->kind = encoding ? CHUNKED : BY_LENGTH;
    c->left = encoding ? 0 : strtoll(length + 17, NULL, 10);
    c->in_body = 1;
    return end + 4 - c->head - before;
}

static void eat(struct conn *c, const char *data, size_t len) {
    int64_t now = now_ns();
    if (!c->busy) { fail(c, "bytes nobody asked for"); return; }
    size_t used = 0;
    if (!c->in_body) {
        ssize_t n = eat_head(c, data, len);
        if (n < 0) { fail(c, "malformed answer"); return; }
        used = n;
        if (!c->in_body) return;
    }
    size_t more = 0;
    int ended = (c->kind == CHUNKED ? eat_chunked : eat_length)(c, data + used, len - used, &more, now);
    if (!ended) return;
    if (used + more < len) { fail(c, "bytes after the answer"); return; }
    complete(c);
}

static void readable(struct conn *c) {
    static char buffer[262144];
    ssize_t n = recv(c->fd, buffer, sizeof buffer, 0);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
        if (c->busy) fail(c, n == 0 ? "closed before the end" : "connection reset");
        else hang_up(c); /* an idle connection may be closed; the next request opens another */
        return;
    }
    eat(c, buffer, n);
}

static void refill(struct conn *c) {
    if (!c->busy && now_ns() < deadline && errors < MAX_ERRORS) begin(c);
}

static void report(double seconds) {
    qsort(latency.at, latency.len, sizeof(int64_t), order);
    qsort(ttft.at, ttft.len, sizeof(int64_t), order);
    qsort(delay.at, delay.len, sizeof(int64_t), order);
    for (char *p = first_error; *p; p++) if (*p == '"' || *p == '\\' || (unsigned char)*p < 32 || (unsigned char)*p > 126) *p = ' ';
    printf("{\"requests\":%ld,\"chunks\":%ld,\"errors\":%d,\"first_error\":\"%s\",\"seconds\":%.6f,\"latency_p50\":%.1f,"
           "\"latency_p99\":%.1f,\"ttft_p50\":%.1f,\"ttft_p99\":%.1f,\"delay_p50\":%.1f,\"delay_p99\":%.1f}\n",
           finished, total_chunks, errors, first_error, seconds, percentile(&latency, .5), percentile(&latency, .99),
           percentile(&ttft, .5), percentile(&ttft, .99), percentile(&delay, .5), percentile(&delay, .99));
}

static void read_request(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) { perror(path); exit(2); }
    fseek(f, 0, SEEK_END);
    request_len = ftell(f);
    rewind(f);
    request = malloc(request_len + 1);
    if (fread(request, 1, request_len, f) != request_len) { perror(path); exit(2); }
    fclose(f);
}

int main(int argc, char **argv) {
    if (argc != 6 && argc != 8) {
        fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS REQUEST-FILE MARKER [CHUNKS RAMP_MS]\n");
        return 2;
    }
    signal(SIGPIPE, SIG_IGN);
    port = atoi(argv[1]);
    int count = atoi(argv[2]);
    double ramp_ms = argc == 8 ? atof(argv[7]) : 0;
    if (count < 1 || count > MAX_CONNS) { fprintf(stderr, "CONNECTIONS is 1 to %d\n", MAX_CONNS); return 2; }
    read_request(argv[4]);
    marker = argv[5];
    want_chunks = argc == 8 ? atoi(argv[6]) : 0;
    ep = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc(count, sizeof *conns);
    int64_t start = now_ns();
    deadline = start + (int64_t)(atof(argv[3]) * 1e9);
    for (int i = 0; i < count; i++) {
        conns[i].fd = -1;
        conns[i].head = malloc(HEAD_CAP);
        conns[i].body = malloc(BODY_KEEP);
        conns[i].start_at = start + (int64_t)(ramp_ms * 1e6 * i / count);
    }
    int started = 0;
    for (;;) {
        int64_t now = now_ns();
        while (started < count && conns[started].start_at <= now) begin(&conns[started++]);
        if (started == count && running == 0 && (now >= deadline || errors >= MAX_ERRORS)) break;
        if (now > deadline + (int64_t)GRACE_S * 1000000000) {
            for (int i = 0; i < count; i++) if (conns[i].busy) fail(&conns[i], "no end in sight");
            break;
        }
        struct epoll_event events[EVENTS];
        int n = epoll_wait(ep, events, EVENTS, started < count ? 1 : 50);
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            if (c->fd < 0) continue;
            if (events[i].events & EPOLLOUT && c->busy && c->written < request_len) push_request(c);
            if (c->fd >= 0 && events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
            refill(c);
        }
        if (n == 0) for (int i = 0; i < started; i++) refill(&conns[i]); /* those whose connection failed */
    }
    report((now_ns() - start) / 1e9);
    return 0;
}
