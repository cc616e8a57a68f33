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

# space NAME... makes network namespaces
space() {
	for ns in "$@"; do spaces+=("$ns") && ip netns add "$ns" && ip -n "$ns" link set lo up || exit 1; done
}
# link A DEVICE ADDRESS/BITS B DEVICE ADDRESS/BITS connects two of them
link() {
	ip link add "$2" netns "$1" type veth peer name "$5" netns "$4" &&
		ip -n "$1" addr add "$3" dev "$2" && ip -n "$4" addr add "$6" dev "$5" &&
		ip -n "$1" link set "$2" up && ip -n "$4" link set "$5" up || exit 1
}

declare -A pid
# relay NAME NAMESPACE [FLAG...] starts one and waits for it
relay() {
	local name=$1 ns=$2
	shift 2
	: >"$tmp/$name.log"
	ip netns exec "$ns" "$tmp/ec-relay" --listen 0.0.0.0:4443 --store "$tmp/$name" --iroh "$@" 2>>"$tmp/$name.log" &
	pid[$name]=$!
	until_ 10 grep -q 'msg=iroh id=' "$tmp/$name.log"
}
end() { kill "${pid[$1]}" && wait "${pid[$1]}" 2>/dev/null; }
die() { kill -9 "${pid[$1]}" && wait "${pid[$1]}" 2>/dev/null; }
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
shows() { "$tmp/ec-discover" --relays --store "$tmp/$1" | tee /dev/stderr | grep -qE "$2"; }
id() { "$tmp/ec-discover" --relays --json --store "$tmp/$1" | sed 's/.*"iroh":{"id":"\([0-9a-f]*\)".*/\1/'; }
# ticket STORE FILE [FLAG...]
ticket() {
	local store=$1 file=$2
	shift 2
	"$tmp/ec-relay" --store "$tmp/$store" "$@" ticket >"$tmp/$file" || exit 1
}
publish() { in_ "$1" "$2" ec-pub "$here" <"$tmp/$3.eco"; }

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
# outlives NAMESPACE ORIGIN NAMESPACE MIRROR PATH: the mirror has all of it after the origin died for ever, with its disk
outlives() {
	local folder=$tmp/of-$2-$n
	whole() { test "$(stored "$1")" = "$(stored "$2")"; }
	check 'a mirror comes' until_ 30 shows "$4" "$5"
	check 'and has all that its origin has' until_ 60 whole "$2" "$4"
	check 'which is this' bytes "$1" "$2" "${folder#"$tmp/"}/origin"
	die "$2"
	rm -rf "${tmp:?}/$2"
	check 'the origin dies, with its disk' until_ 15 shows "$4" ' away '
	check 'everything is at the mirror' bytes "$3" "$4" "${folder#"$tmp/"}/mirror"
	check 'byte for byte' diff -r "$folder/origin" "$folder/mirror"
}

# one.eco and two.eco: 8 s of a broadcast as two sources have it; one.ts, two.ts, broadcast.ts: what viewers get
for source in one two; do
	"$tmp/ec-sim" --at @1780000000 --duration 8s write 5.1 >"$tmp/in.ts" 2>/dev/null
	"$tmp/ec-chop" --source "$source" "$tmp/in.ts" >"$tmp/$source.eco" 2>/dev/null
	"$tmp/ec-chop" --source "$source" --ts --scope source "$tmp/in.ts" >"$tmp/$source.ts" 2>/dev/null
done
"$tmp/ec-chop" --source one --ts --scope broadcast "$tmp/in.ts" >"$tmp/broadcast.ts" 2>/dev/null
