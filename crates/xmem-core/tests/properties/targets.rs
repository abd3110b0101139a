//! What must hold for any bytes given to each parser: one function per parser, which panics otherwise. The properties,
//! the corpus test and the fuzzer call them.

use xen::escape::Escaped;
use xen::{DomId, Kib, Uuid};
use xmem_core::batch::{self, Wanted};
use xmem_core::domain::{DomainRef, Name};
use xmem_core::intent::{self, Record};
use xmem_core::size::{Amount, Size};

/// A fuzz target: the name of its corpus, and its function.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// The targets.
pub(crate) const TARGETS: [Target; 4] = [
    ("size", |bytes| with_text(bytes, size)),
    ("domain", |bytes| with_text(bytes, domain)),
    ("batch", |bytes| with_text(bytes, batch)),
    ("intent", intent),
];

/// Runs the target of this name.
#[cfg_attr(test, expect(dead_code, reason = "only the fuzzer calls one by its name"))]
pub(crate) fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(target, _)| *target == name).unwrap();
    target(bytes);
}

fn with_text(bytes: &[u8], target: fn(&str)) {
    if let Ok(text) = str::from_utf8(bytes) {
        target(text);
    }
}

/// The size is parsed as the oracle parses it.
pub(crate) fn size(text: &str) {
    let parsed = text.parse::<Size>().ok().map(|size| {
        let (sign, number) = match size.amount {
            Amount::To(kib) => (' ', kib.0),
            Amount::Up(kib) => ('+', kib.0),
            Amount::Down(kib) => ('-', kib.0),
            Amount::Percent(percent) => ('%', percent.into()),
            Amount::Maximum => ('m', 0),
            other => panic!("{other:?}"),
        };
        (sign, u128::from(number) * 1024 + u128::from(size.cut))
    });
    assert_eq!(parsed, slow_size(text), "{text:?}");
}

/// The sign and the bytes that `text` asks for, by the grammar, one character after the other. The sign of a share is
/// `%`, that of the maximum `m`. Whole KiB must fit into 64 bits, and an absolute size is at least a page.
pub(crate) fn slow_size(text: &str) -> Option<(char, u128)> {
    if text.eq_ignore_ascii_case("max") {
        return Some(('m', 0));
    }
    let mut rest: Vec<char> = text.chars().collect();
    let sign = if rest.first().is_some_and(|c| "+-".contains(*c)) { rest.remove(0) } else { ' ' };
    let mut number: Option<u128> = None;
    while let Some(digit) = rest.first().and_then(|c| "0123456789".find(*c)) {
        number = Some(number.unwrap_or(0) * 10 + u128::try_from(digit).unwrap());
        // Larger values are too large in any unit, however many digits follow.
        if number > Some(u128::from(u64::MAX)) {
            return None;
        }
        rest.remove(0);
    }
    let number = number?;
    let unit: String = rest.iter().collect();
    let shift = match unit.to_lowercase().as_str() {
        "%" => return (sign == ' ' && (1..=100).contains(&number)).then_some(('%', number * 1024)),
        "b" => 0,
        "k" => 10,
        "" | "m" => 20,
        "g" => 30,
        "t" => 40,
        _ => {
            let spelled = |name: &&str| {
                unit.eq_ignore_ascii_case(name) || unit.eq_ignore_ascii_case(&name[..2])
            };
            10 + 10 * ["kib", "mib", "gib", "tib"].iter().position(spelled)?
        }
    };
    // U+212A, the Kelvin sign, becomes a k.
    let bytes = number << shift;
    let is_enough = bytes >= 4096 || sign != ' ';
    (unit.is_ascii() && is_enough && bytes / 4096 * 4 <= u128::from(u64::MAX))
        .then_some((sign, bytes))
}

/// The domain is parsed as the oracle parses it, is displayed without control characters, and has the same explicit
/// form.
pub(crate) fn domain(text: &str) {
    let parsed = text.parse::<DomainRef>();
    assert_eq!(parsed.as_ref().ok(), slow_domain(text).as_ref(), "{text:?}");
    let Ok(parsed) = parsed else { return };
    assert!(!parsed.to_string().contains(Escaped::must_escape), "{parsed}");
    let explicit = match &parsed {
        DomainRef::Id(domid) => format!("id:{domid}"),
        DomainRef::Uuid(uuid) => format!("uuid:{uuid}"),
        DomainRef::Name(name) => format!("name:{}", name.0),
        DomainRef::Same(_) => panic!("nobody types this"),
    };
    assert_eq!(explicit.parse(), Ok(parsed), "{text:?}");
}

/// The domain that `text` names, by the documented rules.
fn slow_domain(text: &str) -> Option<DomainRef> {
    let id = |digits: &str| {
        let digits = digits.trim_start_matches('0');
        let number = if digits.is_empty() { 0 } else { digits.parse::<u32>().ok()? };
        DomId::new(number).map(DomainRef::Id)
    };
    let all_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let name = |name: &str| (!name.is_empty()).then(|| DomainRef::Name(Name(name.to_owned())));
    let not_nil = |uuid: Uuid| (!uuid.is_nil()).then_some(DomainRef::Uuid(uuid));
    if let Some(rest) = text.strip_prefix("id:") {
        if all_digits(rest) { id(rest) } else { None }
    } else if let Some(rest) = text.strip_prefix("uuid:") {
        slow_uuid(rest).and_then(not_nil)
    } else if let Some(rest) = text.strip_prefix("name:") {
        name(rest)
    } else if all_digits(text) {
        id(text)
    } else if text.trim().is_empty() {
        None
    } else {
        slow_uuid(text).map_or_else(|| name(text), not_nil)
    }
}

fn slow_uuid(text: &str) -> Option<Uuid> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if [8, 13, 18, 23].contains(&at) {
            if *byte != b'-' {
                return None;
            }
        } else {
            number = number * 16 + u128::from(char::from(*byte).to_digit(16)?);
        }
    }
    Some(Uuid::from_u128(number))
}

/// Each line keeps its number, and is valid or has an error without control characters.
pub(crate) fn batch(text: &str) {
    let count = text.lines().count();
    let batch = batch::parse(text);
    for line in &batch.lines {
        assert!((1..=count).contains(&line.number), "{line:?}");
        if let Wanted::Size(size) = line.to {
            let is_whole = |kib: Kib| kib == Kib::from_pages(kib.pages());
            assert!(size.cut < 4096, "{line:?}");
            match size.amount {
                Amount::To(kib) => assert!(kib.0 > 0, "{line:?}"),
                Amount::Up(kib) | Amount::Down(kib) => assert!(is_whole(kib), "{line:?}"),
                _ => {}
            }
        }
    }
    assert!(batch.lines.is_sorted_by_key(|line| line.number), "{:?}", batch.lines);
    for error in &batch.errors {
        let shown = error.problem.to_string();
        assert!(!shown.contains(Escaped::must_escape), "{shown:?}");
    }
}

/// A record that is parsed can be written and read again; the error of any other has no control characters.
pub(crate) fn intent(bytes: &[u8]) {
    match intent::parse(bytes) {
        Record::Absent => panic!("something is there"),
        Record::Intent(found) => {
            let again = serde_json::to_vec(&found).unwrap();
            assert_eq!(intent::parse(&again), Record::Intent(found));
        }
        Record::Foreign { why } => {
            assert!(!why.is_empty() && why.len() < 4096, "{why}");
            assert!(!why.contains(Escaped::must_escape), "{why}");
        }
    }
}
