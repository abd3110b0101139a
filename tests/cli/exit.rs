//! Every exit code, with the words above and the hint below, by the sim's faults.

use snapbox::str;

use crate::sandbox::{Sim, xmem};

#[test]
fn no_xen_here() {
    if std::path::Path::new("/dev/xen/privcmd").exists() {
        return;
    }
    xmem("set web 1G").run().fails(
        7,
        str![[r#"
xmem: there is no Xen here: /dev/xen/privcmd is missing; nothing is changed
hint: without Xen, try: xmem --host sim

"#]],
    );
}
