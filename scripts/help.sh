# What the scripts beside it do first, for them to source: --help prints the comment at the script's top, exit code 0, wherever it stands
# on the command line.
script=$(basename "$0")
usage() { sed -n '2,${/^#/!q;s/^# \{0,1\}//p;}' "$0"; }
# wrong MESSAGE... says what is wrong with the command line, and ends
wrong() {
	printf '%s: error: %s\n%s: hint: scripts/%s --help\n' "$script" "$*" "$script" "$script" >&2
	exit 64
}
# number NAME VALUE ends unless the value is a whole number; one that begins with 0 is octal for the shell
number() {
	case $2 in '' | *[!0-9]* | 0?*) wrong "$1 wants a number, not '$2'" ;; esac
}
# nothing ARGUMENT... ends if there is an argument
nothing() {
	[ $# -eq 0 ] || wrong "unknown argument $1"
}
for word in "$@"; do
	case $word in -h | --help) usage; exit 0 ;; esac
done
