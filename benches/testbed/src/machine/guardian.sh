# Starts one server and outlives the test process: when our standard input ends, the server and its directory go.
# Arguments: directory, working directory of the server, polite signal, keep (0 or 1), then the command.
# A line on standard input means: another guardian takes over, leave everything as it is.
trap '' HUP INT TERM QUIT PIPE TSTP TTIN TTOU
directory=$1 work=$2 polite=$3 keep=$4
shift 4
echo $$ >"$directory/guardian"
(cd "$work" && exec "$@") </dev/null >>"$directory/log" 2>&1 &
server=$!
cd /
echo "$server"
exec >/dev/null 2>&1

if [ -d /proc/self ]; then
  left() {
    for process in /proc/[0-9]*; do
      [ "$process/cwd" -ef "$work" ] && echo "${process#/proc/}"
    done
    # Not the outcome for the last process: that would end the wait below at once.
    :
  }
else
  left() { ps -axo pid=,ppid=,stat= | awk -v s="$server" '($1 == s || $2 == s) && $3 !~ /^Z/ { print $1 }'; }
fi

read -r line && exit 0

alive=$(left)
if [ -n "$alive" ]; then
  # A stopped process would not notice the polite signal.
  kill -s CONT $alive
  for process in $alive; do
    [ "$process" = "$server" ] && kill -s "$polite" "$server"
  done
fi
tries=0
while [ "$tries" -lt 300 ] && alive=$(left) && [ -n "$alive" ]; do
  [ "$tries" -ge 60 ] && kill -s KILL $alive
  tries=$((tries + 1))
  sleep 0.02
done
# A process leaves its directory a moment before it has ended.
[ -z "$alive" ] && wait "$server"
# A killed postmaster leaves its 56 bytes of System V shared memory; line 7 names them.
if [ -f "$work/postmaster.pid" ]; then
  segment=$(sed -n 7p "$work/postmaster.pid" | awk '{ print $2 }')
  [ -n "$segment" ] && ipcrm -m "$segment"
fi
[ "$keep" = 1 ] || rm -rf "$directory"
