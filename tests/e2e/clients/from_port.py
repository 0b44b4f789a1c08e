#!/usr/bin/python3
"""Run by ssh as its ProxyCommand with ProxyUseFdpass: connects to this host's sshd from the port that is named, and gives ssh the connection.
(nc -p does not end when sshd hangs up, and ssh waits for it.)"""

import array
import socket
import sys

connection = socket.create_connection(("127.0.0.1", 22), source_address=("127.0.0.1", int(sys.argv[1])))
rights = array.array("i", [connection.fileno()])
socket.socket(fileno=1).sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
