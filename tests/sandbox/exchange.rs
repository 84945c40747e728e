//! The directory through which files come in and the packed tree goes out: objects of the cache lie
//! there by hard links, and no script may change them.

use crate::place::{Place, as_root_and_as_user};

const SCRIPT: &str = r#"#!/bin/sh
mkdir -p /srv/seen
: >/srv/seen/exchange
attempt() {
    name=$1
    shift
    if "$@" >/dev/null 2>&1; then echo "$name POSSIBLE"; else echo "$name refused"; fi \
        >>/srv/seen/exchange
}
object=/.kuth/input.tar
[ -f "$object" ] || object=$(find /.kuth -type f | head -n 1)
echo "found $(find /.kuth -type f -name 'run-*' | wc -l)" >>/srv/seen/exchange
attempt uncover sh -c "mount -o remount,bind,rw /.kuth && : >/.kuth/new"
attempt unmount umount /.kuth
attempt unmount-lazily umount -l /.kuth
attempt new sh -c ': >/.kuth/new'
attempt chmod chmod 666 "$object"
attempt append sh -c "printf x >>$object"
attempt link ln "$object" /srv/object
attempt append-to-link sh -c "[ -f /srv/object ] && printf x >>/srv/object"
attempt rename mv "$object" /.kuth/renamed
attempt remove rm -f "$object" /.kuth/renamed
rm -f /srv/object
"#;

#[test]
fn scripts_cannot_change_the_objects_of_the_cache() {
    as_root_and_as_user(|caller| {
        let place = Place::new(caller, "");
        let script = place.script("exchange", SCRIPT);
        place.add(&format!(
            "\n[stage.exchange]\nkind = \"customise\"\nfrom = \"rootfs\"\n\
             run = {{ source = \"{script}\" }}\n"
        ));
        let tree = place.build("exchange");
        let expected = "found 1\nuncover refused\nunmount refused\nunmount-lazily refused\nnew refused\nchmod refused\nappend refused\n\
            link refused\nappend-to-link refused\nrename refused\nremove refused\n";
        let seen = tree.text("/srv/seen/exchange");
        let verified = place.project.kuth(&["cache", "verify"]);
        assert_eq!(seen, expected, "{caller:?}, and then: {verified:?}");
        place.project.assert_clean();
    });
}
