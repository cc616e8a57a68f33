# What scripts/netns-mesh and scripts/netns-nat have in common, for them to source: relays in network namespaces, joined by
# iroh, what is published there, and checks.
set -u -o pipefail
cd "$(dirname "$0")/.."

if [[ $(id -u) -ne 0 ]]; then
	echo 'ok - skipped: needs root for network namespaces'
	exit 0
fi
PATH=$PATH:/usr/sbin:/sbin
EC_IROH=${EC_IROH:-$(command -v ec-iroh || echo "$PWD/bridge/target/release/ec-iroh")}
if [[ ! -x $EC_IROH ]]; then
	echo 'ok - skipped: ec-iroh is not built: cargo build --release in bridge/'
	exit 0
fi
export EC_IROH
tmp=$(mktemp -d)
spaces=()
cleanup() {
	for ns in "${spaces[@]}"; do ip netns pids "$ns" 2>/dev/null | xargs -r kill -9; done
	wait 2>/dev/null
	for ns in "${spaces[@]}"; do ip netns delete "$ns" 2>/dev/null; done
	rm -rf "$tmp"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

n=0 failed=0
# check NAME COMMAND...
check() {
	local name=$1 out
	shift
	n=$((n + 1))
	if out=$("$@" 2>&1); then
		echo "ok $n - $name"
	else
		failed=$((failed + 1))
		echo "not ok $n - $name"
		sed 's/^/#     /' <<<"$out" | tail -n 20
	fi
}
# finish ends with the plan, and with the logs if something failed
finish() {
	echo "1..$n"
	((failed == 0)) || { for f in "$tmp"/*.log; do echo "# $f"; tail -n 20 "$f" | sed 's/^/#   /'; done; exit 1; }
	exit 0
}
# until_ SECONDS COMMAND... waits for a command to succeed
until_() {
	local end=$((SECONDS + $1))
	shift
	until "$@" >/dev/null 2>&1; do
		((SECONDS < end)) || { "$@"; return 1; }
		sleep 0.2
	done
}

go build -o "$tmp/" ./cmd/ec-sim ./cmd/ec-chop ./cmd/ec-pub ./cmd/ec-relay ./cmd/ec-sub ./cmd/ec-discover ./cmd/ec-dump || exit 1
go build -o "$tmp/bareticket" scripts/bareticket.go || exit 1

# space NAME... makes network namespaces
space() {
	local ns
	for ns in "$@"; do spaces+=("$ns") && ip netns add "$ns" && ip -n "$ns" link set lo up || exit 1; done
}
# link A DEVICE ADDRESS/BITS B DEVICE ADDRESS/BITS connects two of them; an empty address is none
link() {
	ip link add "$2" netns "$1" type veth peer name "$5" netns "$4" &&
		{ [[ -z $3 ]] || ip -n "$1" addr add "$3" dev "$2"; } && ip -n "$4" addr add "$6" dev "$5" &&
		ip -n "$1" link set "$2" up && ip -n "$4" link set "$5" up || exit 1
}

declare -A pid where flags
# relay NAME NAMESPACE [FLAG...] starts one and waits for it
relay() {
	local name=$1 ns=$2
	shift 2
	where[$name]=$ns flags[$name]=$*
	: >"$tmp/$name.log"
	ip netns exec "$ns" "$tmp/ec-relay" --listen 0.0.0.0:4443 --store "$tmp/$name" --iroh "$@" 2>>"$tmp/$name.log" &
	pid[$name]=$!
	until_ 10 grep -q 'msg=iroh id=' "$tmp/$name.log"
}
# again NAME starts one as it was before
# shellcheck disable=SC2086
again() { relay "$1" "${where[$1]}" ${flags[$1]}; }
end() { kill "${pid[$1]}" && wait "${pid[$1]}" 2>/dev/null; }
die() { kill -9 "${pid[$1]}" && wait "${pid[$1]}" 2>/dev/null; }
# process STORE: its ec-iroh
process() { "$tmp/ec-discover" --relays --json --store "$tmp/$1" | sed 's/.*"pid":\([0-9]*\).*/\1/'; }
# in_ NAMESPACE STORE TOOL ARGUMENT... runs a tool that trusts the relay there
in_() {
	local ns=$1 store=$2 tool=$3
	shift 3
	EC_FINGERPRINT=$(cat "$tmp/$store/fingerprint") ip netns exec "$ns" "$tmp/$tool" "$@"
}
# text FILE: what is in it, a ticket
text() { cat "$tmp/$1"; }
here=moqt://127.0.0.1:4443
# same NAMESPACE STORE NAME WANT: a viewer there has every byte
same() { in_ "$1" "$2" ec-sub --retry 10s --ts --from first --to now "$here" "$3" >"$tmp/out.ts" && cmp "$tmp/out.ts" "$4"; }
# shows STORE WANT: the relay tells of such a peer
# shows RELAY REGEX: grep reads to the end, as a pipe that closes before is an error of the program that writes
shows() { "$tmp/ec-discover" --relays --store "$tmp/$1" | tee /dev/stderr | grep -E "$2" >/dev/null; }
id() { "$tmp/ec-discover" --relays --json --store "$tmp/$1" | sed 's/.*"iroh":{"id":"\([0-9a-f]*\)".*/\1/'; }
# ticket STORE FILE [FLAG...]: FILE is a ticket of it, FILE.id one with the relay's id and no address
ticket() {
	local store=$1 file=$2
	shift 2
	"$tmp/ec-relay" --store "$tmp/$store" "$@" ticket >"$tmp/$file" && "$tmp/bareticket" <"$tmp/$file" >"$tmp/$file.id" || exit 1
}
publish() { in_ "$1" "$2" ec-pub "$here" <"$tmp/$3.eco"; }

# by is how a viewer's tickets end: .id for those by which iroh has to find the relay
by=
# exchange: what is published at one of A and B is had at the other, byte for byte
exchange() {
	check 'one publishes' publish "${where[A]}" A one
	check 'the other has it, byte for byte' until_ 20 same "${where[B]}" B ec-atsc-2065-3 "$tmp/broadcast.ts"
	check 'the other publishes' publish "${where[B]}" B two
	check 'and it is had here' until_ 20 same "${where[A]}" A ec-source-two-3 "$tmp/two.ts"
}

# code WANT COMMAND...: it exits so
code() {
	local want=$1 got=0
	shift
	"$@" || got=$?
	((got == want)) || { echo "exit code $got"; return 1; }
}
# refused NAMESPACE FLAG...: who is there and has no good ticket is no peer of A's, nor let in with a bad one. The flags are those of
# a relay that reaches A with a key that A does not list.
refused() {
	local ns=$1
	shift
	viewer() { ip netns exec "$ns" "$tmp/ec-sub" --list "$(text "single$by")"; }
	ticket A single --uses 1
	check 'a ticket for one lets one in' viewer
	check 'then it is spent' code 77 viewer
	relay stranger "$ns" "$@"
	check 'a relay with a key that is not listed is no peer' until_ 20 grep 'would be a peer, but is an ordinary client.*over iroh, with a key that is not listed' "$tmp/A.log"
	check 'and shows the other as its upstream' until_ 10 shows stranger ' upstream '
	check 'though it publishes' publish "$ns" stranger three
	check 'it is served' until_ 20 same "$ns" stranger ec-source-two-3 "$tmp/two.ts"
	unasked() { in_ "${where[A]}" A ec-sub --list "$here" | tee /dev/stderr | grep ec-source-two-3 >/dev/null && ! in_ "${where[A]}" A ec-sub --list "$here" | grep ec-source-three-3; }
	check 'and asked for nothing' unasked
	end stranger
}

milliseconds() { echo $((($(date +%s%N) - $1) / 1000000)); }
# restarted STORE PATH N: its ec-iroh was started N times, and the peer is there
restarted() { "$tmp/ec-discover" --relays --json --store "$tmp/$1" | grep "\"starts\":$3," && shows "$1" "$2"; }
# sidecars PATH_OF_A PATH_OF_B: ec-iroh is killed at B, then at A. Viewers next to the relay do not notice, and the peers are back.
sidecars() {
	local store path=$1 began
	for store in B A; do
		kill -9 "$(process $store)"
		began=$(date +%s%N)
		check "ec-iroh of $store dies, viewers there go on" same "${where[$store]}" $store ec-source-two-3 "$tmp/two.ts"
		check 'the peers are back' until_ 30 restarted $store "$path" 2
		echo "# after $(milliseconds "$began") ms"
		path=$2
	done
	check 'as the other one says, too' until_ 30 shows B "$1"
}

# home NAME CHANNEL STORE: publishes live at the relay next to it until NAME.pid, its antenna, ends; NAME.eco is what
home() {
	sh -c 'echo $$ >"$0.pid" && exec "$@"' "$tmp/$1" "$tmp/ec-sim" --tdt-every 1s --live --duration 90s write "$2" 2>/dev/null | "$tmp/ec-chop" --source "$1" 2>/dev/null | tee "$tmp/$1.eco" |
		in_ "${where[$3]}" "$3" ec-pub --retry 20s "$here" 2>"$tmp/$1.log"
}
# view NAME NAMESPACE STORE ARGUMENT...: a viewer; NAME.eco is what it got
view() {
	local name=$1 ns=$2 store=$3
	shift 3
	EC_FINGERPRINT=$(cat "$tmp/$store/fingerprint") timeout 60 ip netns exec "$ns" "$tmp/ec-sub" --retry 20s --verify -o "$tmp/$name.eco" "$@" 2>"$tmp/$name.log"
	echo "code $?" >>"$tmp/$name.log"
}
chunks() { "$tmp/ec-dump" --json "$tmp/$1.eco" | sed -n 's/.*"type":"chunk","name":"\([^"]*\)".*"bytes":\([0-9]*\),.*/\1 \2/p'; }
# piece VIEWER HOME N: a viewer read to its end, and what it got are at least N chunks, all that was published from the first to the
# last, byte for byte
piece() {
	local first track skip
	grep '^code 0$' "$tmp/$1.log" && grep 'missing_groups=0 missing_objects=0 .*mismatches=0 no_hash=0' "$tmp/$1.log" || return 1
	chunks "$1" >"$tmp/got" && (($(wc -l <"$tmp/got") >= $3)) || { cat "$tmp/got"; return 1; }
	read -r track first _ <"$tmp/got"
	skip=$(chunks "$2" | awk -v track="$track" -v first="$first" '$1 == track && $2 == first { found = 1 } $1 == track && !found { n += $3 } END { print n + 0; exit !found }') || return 1
	"$tmp/ec-dump" --ts -o "$tmp/got.ts" "$tmp/$1.eco" && "$tmp/ec-dump" --ts --track "$track" -o "$tmp/published.ts" "$tmp/$2.eco" || return 1
	cmp -i "$skip:0" -n "$(stat -c %s "$tmp/got.ts")" "$tmp/published.ts" "$tmp/got.ts"
}
# came VIEWER PATH ID...: it came to each of these relays at least twice, always so
came() {
	local log=$tmp/$1.log path=$2 id
	shift 2
	grep 'iroh peer"' "$log"
	for id in "$@"; do (($(grep -c "iroh peer\" id=$id .* path=$path " "$log") >= 2)) || return 1; done
	! grep 'iroh peer"' "$log" | grep -v " path=$path "
}
# kills NAMESPACE PATH PATH_OF_A: viewers there read from A and B, which iroh finds by their ids, and each of which is killed and comes
# back in turn. One channel is published at both, by two homes, and one at A alone; nothing of either is missing.
# shellcheck disable=SC2046
kills() {
	local ns=$1 path=$2 homes=() viewers=() process began ida idb both
	ida=$(id A) idb=$(id B)
	ticket A at_a
	ticket B at_b
	both=("$(text "at_a$by")" "$(text "at_b$by")")
	home hears_a 5.2 A &
	homes+=($!)
	home alone 101 A &
	homes+=($!)
	sleep 1 # so what the first viewer gets first was published by the home whose chunks it is compared with
	home hears_b 5.2 B &
	homes+=($!)
	lists() { in_ "${where[B]}" B ec-sub --list "$here" | grep -F "$1"; }
	check 'what begins at one is told at the other' until_ 20 lists ec-dvb-8468-1041-28006
	view next "${where[B]}" B --duration 4s "$here" ec-dvb-8468-1041-28006 &
	viewers+=($!)
	view shared "$ns" A --duration 22s "${both[@]}" ec-atsc-2065-4 &
	viewers+=($!)
	view single "$ns" A --duration 22s "${both[@]}" ec-dvb-8468-1041-28006 &
	viewers+=($!)
	wait "${viewers[0]}"
	kill -9 "$(process A)" # as a machine that loses its power: nobody says goodbye
	die A
	check 'one dies with its ec-iroh, which is noticed' until_ 15 shows B ' away '
	began=$(date +%s%N)
	again A
	check 'it comes back, and is a peer' until_ 30 shows B "$3"
	echo "# after $(milliseconds "$began") ms"
	sleep 2
	die B # alone: its ec-iroh says that it ends
	sleep 1
	began=$(date +%s%N)
	again B
	check 'the other one dies and comes back' until_ 15 shows B "$3"
	echo "# after $(milliseconds "$began") ms"
	for process in "${viewers[@]}"; do timeout 60 tail --pid="$process" -f /dev/null; done
	kill $(cat "$tmp"/{hears_a,alone,hears_b}.pid)
	for process in "${homes[@]}"; do timeout 60 tail --pid="$process" -f /dev/null; done
	check 'what was live at one was had at the other, byte for byte' piece next alone 2
	check 'a viewer came to both, before and after' came shared "$path" "$ida" "$idb"
	check 'of a channel that both have it got every byte' piece shared hears_a 10
	check 'another viewer came to both, before and after' came single "$path" "$ida" "$idb"
	check 'of a channel that one has it got every byte' piece single alone 10
}

# stored STORE: what a relay has
stored() { "$tmp/ec-relay" --store "$tmp/$1" --json store | sed 's/.*"tracks":\[//; s/"oldest":[^}]*//g; s/"bytes":[0-9]*,//g'; }
# bytes NAMESPACE STORE FOLDER: every broadcast and source there, with framing and hashes
bytes() {
	mkdir -p "$tmp/$3"
	in_ "$1" "$2" ec-sub --list --json "$here" | sort >"$tmp/$3/list" || return 1
	local name
	for name in $(sed 's/.*"namespace":"\([^"]*\)".*/\1/' "$tmp/$3/list" | sort -u); do
		in_ "$1" "$2" ec-sub --verify --from first --to now -o "$tmp/$3/$name" "$here" "$name" || return 1
	done
	test "$(du -sk "$tmp/$3" | cut -f 1)" -ge 500
}
# alone FLAG...: B begins again without what it had, as a mirror; what only it had is nowhere any more
alone() {
	end B
	end A
	rm -rf "$tmp/B/groups" "$tmp"/A/groups/ec-source-{two,hears_b}-*
	again A
	relay B "${where[B]}" "$@" --mirror ec
}
# outlives PATH_OF_A: B, that mirror, has all that A had after A died for ever, with its disk
outlives() {
	local folder=$tmp/of-$n
	whole() { test "$(stored "$1")" = "$(stored "$2")"; }
	check 'a mirror comes' until_ 30 shows B "$1"
	check 'and has all that its origin has' until_ 60 whole A B
	check 'which is this' bytes "${where[A]}" A "${folder#"$tmp/"}/origin"
	die A
	rm -rf "${tmp:?}/A"
	check 'the origin dies, with its disk' until_ 15 shows B ' away '
	check 'everything is at the mirror' bytes "${where[B]}" B "${folder#"$tmp/"}/mirror"
	check 'byte for byte' diff -r "$folder/origin" "$folder/mirror"
}

# one.eco, two.eco, three.eco: 8 s of a broadcast as three sources have it; one.ts, two.ts, broadcast.ts: what viewers get
for source in one two three; do
	"$tmp/ec-sim" --at @1780000000 --duration 8s write 5.1 >"$tmp/in.ts" 2>/dev/null
	"$tmp/ec-chop" --source "$source" "$tmp/in.ts" >"$tmp/$source.eco" 2>/dev/null
	"$tmp/ec-chop" --source "$source" --ts --scope source "$tmp/in.ts" >"$tmp/$source.ts" 2>/dev/null
done
"$tmp/ec-chop" --source one --ts --scope broadcast "$tmp/in.ts" >"$tmp/broadcast.ts" 2>/dev/null
