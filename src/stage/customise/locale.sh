# Makes the locale $1, and no other, with the charset $2; with the one that the package locales has for
# it if $2 is empty. locale-gen itself ends well when it makes none, or one that has ASCII alone.
set -eu
wanted=$1
charset=$2

command -v locale-gen >/dev/null ||
    { echo 'locale-gen is missing: add the package locales' >&2; exit 1; }

# The locales of the package, and those that the tree has of its own.
lists() { cat /usr/share/i18n/SUPPORTED /usr/local/share/i18n/SUPPORTED 2>/dev/null || :; }

# The charset, or which names are near.
found=$(lists | awk -v wanted="$wanted" -v charset="$charset" '
    # Language and territory of a name; its modifier goes into `modifier`.
    function place_of(name,  at) {
        at = index(name, "@")
        modifier = at ? substr(name, at) : ""
        sub(/[.@].*/, "", name)
        return name
    }
    # A name without the differences that people make: `utf8`, `EN-us`.
    function plain(name) {
        name = tolower(name)
        gsub(/[^a-z0-9@]/, "", name)
        return name
    }
    function language_of(place) { sub(/[_-].*/, "", place); return tolower(place) }
    function territory_of(place) { return sub(/^[^_-]*[_-]/, "", place) ? toupper(place) : "" }
    BEGIN {
        place = place_of(wanted)
        own = modifier
        language = language_of(place)
        territory = territory_of(place)
    }
    /^[^#]/ && NF > 1 {
        here = place_of($1)
        name = here "." $2 modifier
        if (here == place && modifier == own) {
            if (charset == $2 || charset == "" && $2 == "UTF-8") found = $2
            else if (charset == "" && $1 == wanted && found == "") found = $2
        }
        if (plain(name) == plain(wanted) || plain($1) == plain(wanted)) rank = 1
        else if (here == place) rank = 2
        else if ($2 == "UTF-8" && language_of(here) == language) rank = 3
        else if ($2 == "UTF-8" && territory != "" && territory_of(here) == territory) rank = 4
        else next
        if (!seen[name]++) near[rank] = near[rank] (near[rank] == "" ? "" : ", ") name
    }
    END {
        if (!NR) found = charset == "" ? "UTF-8" : charset
        if (found != "") { print found; exit 0 }
        for (rank = 1; rank < 5 && near[rank] == ""; rank++);
        print rank < 5 ? "near ones are " near[rank] : "/usr/share/i18n/SUPPORTED lists those that it has"
        exit 1
    }') && known=yes || known=no

if [ "$known" = no ]; then
    place=${wanted%%[.@]*}
    modifier=${wanted#"${wanted%%@*}"}
    [ -e "/usr/local/share/i18n/locales/$place$modifier" ] ||
        { echo "the package locales has no $wanted: $found" >&2; exit 1; }
    found=${charset:-UTF-8}
fi

rm -f /etc/locale.gen
printf '%s %s\n' "$wanted" "$found" >/etc/locale.gen
locale-gen </dev/null
why=$(LC_ALL=$wanted locale charmap 2>&1 >/dev/null) || :
[ -z "$why" ] || { echo "locale-gen has not made $wanted: $why" >&2; exit 1; }
