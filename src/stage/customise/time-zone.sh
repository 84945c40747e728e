# Makes $1 the time zone of the tree, or says which one was perhaps meant.
set -eu
zone=$1
zones=/usr/share/zoneinfo

refuse() { echo "$1" >&2; exit 1; }
# Whether $1 is a file of a time zone, which begins with this word (RFC 8536).
is_zone() { [ -f "$1" ] && [ "$(head -c 4 "$1" | tr -d '\0')" = TZif ]; }
# `, such as` the first few of the lines on standard input.
such_as() { head -n 5 | paste -s -d , | sed 's/,/, /g; s/^./, such as &/'; }
# The zones below $1, by their names.
names() { find -L "$zones/$1" -type f ! -name '*.*' 2>/dev/null | sed "s,^$zones/,," | sort; }

[ -d "$zones" ] || refuse 'there are no time zones in the tree: add the package tzdata'

# What Debian has there leads to /etc/localtime, which would then lead to itself.
[ "$zone" != localtime ] || refuse 'localtime is not a time zone, but a link to the one of the system'
if is_zone "$zones/$zone"; then
    ln -sfn "$zones/$zone" /etc/localtime
    exit 0
fi
[ ! -d "$zones/$zone" ] ||
    refuse "$zone is a directory of time zones: name one in it$(names "$zone" | such_as)"
[ ! -e "$zones/$zone" ] || refuse "$zones/$zone is not a time zone"

# The names of before are links in the source of the zones: `L Europe/London GB`.
if [ -f "$zones/tzdata.zi" ]; then
    today=$(awk -v zone="$zone" '
        $1 == "L" && $3 == zone { print $2; exit }
        $1 == "Z" && $2 == zone { print $2; exit }' "$zones/tzdata.zi")
    [ -z "$today" ] || [ "$today" = "$zone" ] || ! is_zone "$zones/$today" ||
        refuse "$zone is an old name of $today: write that, or add the package tzdata-legacy"
    [ -z "$today" ] ||
        refuse "$zone is an old name that tzdata no longer has: add the package tzdata-legacy"
fi

near=$(names . | sed 's,^\./,,' | awk -v zone="$zone" '
    function least(a, b) { return a < b ? a : b }
    # How many letters were added, left out or changed from `a` to `b`.
    function distance(a, b,  i, j, row, before, last) {
        for (j = 0; j <= length(b); j++) row[j] = j
        for (i = 1; i <= length(a); i++) {
            last = row[0]
            row[0] = i
            for (j = 1; j <= length(b); j++) {
                before = row[j]
                row[j] = least(least(row[j], row[j - 1]) + 1,
                    last + (substr(a, i, 1) != substr(b, j, 1)))
                last = before
            }
        }
        return row[length(b)]
    }
    function plain(name) { name = tolower(name); gsub(/[^a-z0-9\/+-]/, "", name); return name }
    function city(name) { sub(/.*\//, "", name); return name }
    BEGIN { zone = plain(zone) }
    {
        name = plain($0)
        if (name == zone || city(name) == city(zone) || 4 * distance(name, zone) <= length(zone))
            near = near (near == "" ? "" : ", ") $0
    }
    END { print near }')
[ -z "$near" ] || refuse "there is no time zone $zone; near ones are $near"
[ -e "$zones/US/Eastern" ] || refuse \
    "there is no time zone $zone; names of before, such as US/Eastern, are in the package tzdata-legacy"
refuse "there is no time zone $zone; the names are those of the files below $zones"
