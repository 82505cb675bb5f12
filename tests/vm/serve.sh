# Read by the guest's busybox: a job a line (number, seconds) from the second serial port, "done NUMBER" when it is over.
# Its folder /guest/NUMBER holds what to run, and gets its output and its exit status.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=dumb CLEW_VM=guest
exec 3<>/dev/ttyS1
echo ready >&3
while read -r number seconds <&3; do
  { # the full path: the applet of busybox returns another status
    /usr/bin/timeout -k 5 "$seconds" /bin/bash "/guest/$number/command" \
      >>"/guest/$number/stdout" 2>>"/guest/$number/stderr" </dev/null 3>&-
    echo $? >"/guest/$number/status"
    echo "done $number" >&3
  } &
done
