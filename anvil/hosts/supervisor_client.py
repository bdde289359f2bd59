"""A client of supervisord that runs on the host, with nothing but its interpreter's standard library.

supervisord speaks XML-RPC over its socket. Asking it directly gives structured answers, and starts several times faster
than its own command line. Usage: `python -I -c CLIENT SOCKET (states | up | stop | remove | shutdown) [NAME]`.
"""

CLIENT = """
import http.client, json, os, socket, sys, time, xmlrpc.client as rpc

path, action, name = (sys.argv[1:] + [""])[:3]
NOT_RUNNING, BAD_NAME = 70, 10

def call(method, *arguments):
    line = http.client.HTTPConnection("127.0.0.1", timeout=600)
    line.sock = socket.socket(socket.AF_UNIX)
    line.sock.connect(path)
    line.request("POST", "/RPC2", rpc.dumps(arguments, "supervisor." + method), {"Content-Type": "text/xml"})
    return rpc.loads(line.getresponse().read())[0][0]

def stop():
    try:
        call("stopProcess", name)
    except rpc.Fault as fault:
        if fault.faultCode not in (NOT_RUNNING, BAD_NAME):
            raise

def reread():
    added, changed, removed = call("reloadConfig")[0]
    if name in changed or name in removed:
        stop()
        call("removeProcessGroup", name)
    if name in changed or name in added:
        call("addProcessGroup", name)

def shutdown():
    pid = call("getPID")
    call("shutdown")
    for _ in range(1200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    sys.exit("supervisord did not stop within 120 s")

try:
    if action == "states":
        print(json.dumps(call("getAllProcessInfo")))
    elif action == "up":
        reread()
        stop()
        call("startProcess", name)
    elif action == "stop":
        stop()
    elif action == "remove":
        reread()
    else:
        shutdown()
except (OSError, http.client.HTTPException) as error:
    sys.exit(f"down: {error}")
except rpc.Fault as fault:
    sys.exit(f"{name or action}: {fault.faultString}")
"""
