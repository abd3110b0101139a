//! Sizes, domains, batches and intent records.

use proptest::prelude::*;
use serde_json::json;
use xen::Kib;
use xmem_core::batch::{self, Wanted};
use xmem_core::domain::{DomainRef, Name};
use xmem_core::intent::{self, Record};
use xmem_core::memory::Numbers;
use xmem_core::size::{Amount, Size};

use crate::targets;

/// Almost a size: each part is more likely right than wrong.
fn size() -> impl Strategy<Value = String> {
    let sign = prop_oneof![4 => Just(""), 1 => Just("+"), 1 => Just("-"), 1 => Just("--")];
    let digits = prop_oneof![
        4 => any::<u64>().prop_map(|number| number.to_string()),
        4 => (0..64_u32, -3..3_i128).prop_map(|(bit, by)| ((1_i128 << bit) + by).to_string()),
        2 => any::<u128>().prop_map(|number| number.to_string()),
        1 => "0{0,30}[0-9]{0,5}",
        1 => "[0-9٠-٩.,_ ]{0,9}",
    ];
    let unit = prop_oneof![
        4 => prop::sample::select(
            &["", "b", "k", "m", "g", "t", "KiB", "mIb", "GiB", "TIB", "Mi", "gi", "%"][..]
        )
        .prop_map(str::to_owned),
        1 => "[bkmgtKMGT\u{212a}]?[iI]?[bB]?",
        1 => ".{0,3}",
    ];
    let all = (sign, digits, unit).prop_map(|(sign, digits, unit)| format!("{sign}{digits}{unit}"));
    prop_oneof![9 => all, 1 => "[mM][aA]?[xX]?"]
}

/// Almost a domain.
fn domain() -> impl Strategy<Value = String> {
    let rest = prop_oneof![
        "[0-9]{0,12}",
        (0..=33_000_u32).prop_map(|number| number.to_string()),
        "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
        "0{8}(-0{4}){3}-0{11}[01]",
        "[0-9a-g]{7,9}(-[0-9a-f+]{3,5}){3}-[0-9a-f]{11,13}",
        "\\{?[0-9a-f]{32}\\}?",
        "[ :\\-+.\u{0}-\u{20}\u{9b}\u{202e}a-z]{0,8}",
        ".{0,20}",
    ];
    let prefix = prop::sample::select(&["", "", "id:", "uuid:", "name:", ":", "a:", "ID:"][..]);
    (prefix, rest).prop_map(|(prefix, rest)| format!("{prefix}{rest}"))
}

/// Almost a line of a batch.
fn line() -> impl Strategy<Value = String> {
    let number = || prop_oneof![any::<i64>().prop_map(|n| json!(n)), Just(json!(null))];
    let text = prop_oneof![".{0,9}", Just("00000000-0000-4000-8000-000000000007".to_owned())];
    let members = (number(), number(), number(), prop::option::of(text));
    prop_oneof![
        (domain(), "[ \t]{0,2}", size()).prop_map(|(domain, blank, size)| domain + &blank + &size),
        members.prop_map(|(domid, target, video, text)| {
            json!({ "domid": domid, "target_kib": target, "videoram_kib": video, "uuid": text })
                .to_string()
        }),
        "[#{}\":,0-9a-z\\[\\] ]{0,30}",
        ".{0,30}",
    ]
}

fn numbers() -> impl Strategy<Value = Numbers> {
    let kib = || any::<u64>().prop_map(Kib);
    let node = || prop::option::of(kib());
    (node(), node(), kib()).prop_map(|(target, static_max, limit)| Numbers {
        target,
        static_max,
        limit,
    })
}

fn intent() -> impl Strategy<Value = (u32, Numbers, Numbers)> {
    (any::<u32>(), numbers(), numbers())
}

fn written((pid, old, new): (u32, Numbers, Numbers)) -> Vec<u8> {
    json!({ "version": 1, "pid": pid, "old": old, "new": new }).to_string().into_bytes()
}

proptest! {
    #[test]
    fn sizes_are_parsed_as_the_grammar_says(text in size()) {
        targets::size(&text);
    }

    #[test]
    fn domains_are_parsed_as_documented(text in domain()) {
        targets::domain(&text);
    }

    #[test]
    fn batches_are_parsed_line_by_line(lines in prop::collection::vec(line(), 0..4)) {
        targets::batch(&lines.join("\n"));
    }

    /// With and without its other members, `target_kib` is the target: no guest shrinks by its video memory.
    #[test]
    fn a_batch_is_read_as_it_was_written(
        name in "[^\\s:#{\\[\"'\\\\][^\\s:\"'\\\\]{0,9}( [^\\s:#\"'\\\\]{1,9}){0,2}",
        pages in 1..=u64::MAX / 4096, video in -1..1024_i32, with_video: bool,
    ) {
        let target = pages * 4;
        let mut listed = json!({ "name": name, "target_kib": target });
        if with_video {
            listed["videoram_kib"] = video.into();
        }
        let text = format!("# {name}\nname:{name} {target}k\r\n\n{listed}\n");
        let batch = batch::parse(&text);
        let meant = DomainRef::Name(Name(name));
        prop_assert_eq!((batch.lines.len(), batch.errors.len()), (2, 0), "{:?}", batch);
        prop_assert_eq!((&batch.lines[0].domain, batch.lines[0].number), (&meant, 2));
        prop_assert_eq!(batch.lines[0].to, Wanted::Size(Size::exact(Amount::To(Kib(target)))));
        prop_assert_eq!((&batch.lines[1].domain, batch.lines[1].number), (&meant, 4));
        prop_assert_eq!(batch.lines[1].to, Wanted::Target(Kib(target)));
    }

    #[test]
    fn a_record_is_read_as_it_was_written(it in intent()) {
        let Record::Intent(found) = intent::parse(&written(it)) else { panic!("{it:?}") };
        prop_assert_eq!((found.pid, found.old, found.new), it);
    }

    /// One byte is changed or missing.
    #[test]
    fn a_damaged_record_is_parsed_or_refused(
        it in intent(), at in any::<prop::sample::Index>(), byte in any::<Option<u8>>(),
    ) {
        let mut bytes = written(it);
        let at = at.index(bytes.len());
        match byte {
            Some(byte) => bytes[at] = byte,
            None => drop(bytes.remove(at)),
        }
        targets::intent(&bytes);
        // A record that was not written completely is refused.
        let cut = intent::parse(&bytes[..at]);
        let is_foreign = matches!(cut, Record::Foreign { .. });
        prop_assert!(is_foreign, "{:?}", cut);
    }
}
