//! What must hold for any bytes whatever, in each place where bytes come from outside.
//!
//! Owns the one function for each of those places that the fuzzer, the kept corpus and the properties
//! run. Each panics when what must hold does not.

use std::io::{self, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use xmem::batch;
use xmem::domain::{DomId, DomainRef, Uuid};
use xmem::harmless::Harmless;
use xmem::intent::{self, Found};
use xmem::size::{Amount, Size};
use xmem::xenstore::{
    Batch as _, Client, StoreError, Watching as _, Xs as _, XsTransaction as _,
    XsTransactionSpan as _,
};

/// A place where bytes come from outside, as the corpus calls it, and what must hold there.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
pub(crate) const TARGETS: [Target; 5] = [
    ("size", |bytes| with_text(bytes, size)),
    ("domain", |bytes| with_text(bytes, domain)),
    ("batch", |bytes| with_text(bytes, batch)),
    ("intent", intent),
    ("wire", wire),
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

/// It is read as the oracle reads it.
pub(crate) fn size(text: &str) {
    let read = text.parse::<Size>().ok().map(|size| {
        let (sign, kib) = match size.amount {
            Amount::To(kib) => (' ', kib),
            Amount::Up(kib) => ('+', kib),
            Amount::Down(kib) => ('-', kib),
        };
        (sign, u128::from(kib.0) * 1024 + u128::from(size.cut))
    });
    assert_eq!(read, slow_size(text), "{text:?}");
}

/// The sign and the bytes that `text` asks for, by the letter of README's grammar, one character after
/// the other. Whole KiB must fit into 64 bits, and there must be a page.
pub(crate) fn slow_size(text: &str) -> Option<(char, u128)> {
    let mut rest: Vec<char> = text.chars().collect();
    let sign = if rest.first().is_some_and(|c| "+-".contains(*c)) { rest.remove(0) } else { ' ' };
    let mut number: Option<u128> = None;
    while let Some(digit) = rest.first().and_then(|c| "0123456789".find(*c)) {
        number = Some(number.unwrap_or(0) * 10 + u128::try_from(digit).unwrap());
        // More than this is too large in any unit, also when more digits come.
        if number > Some(u128::from(u64::MAX)) {
            return None;
        }
        rest.remove(0);
    }
    let unit: String = rest.iter().collect();
    let shift = match unit.as_str() {
        "b" | "B" => 0,
        "k" | "K" => 10,
        "" | "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        _ => {
            let spelled = |name: &&str| unit.eq_ignore_ascii_case(name);
            10 + 10 * ["kib", "mib", "gib", "tib"].iter().position(spelled)?
        }
    };
    let bytes = number? << shift;
    (bytes >= 4096 && bytes / 4096 * 4 <= u128::from(u64::MAX)).then_some((sign, bytes))
}

/// It is read as the oracle reads it, what it says of itself is harmless, and a forced reading of the
/// same is the same.
pub(crate) fn domain(text: &str) {
    let read = text.parse::<DomainRef>();
    assert_eq!(read.as_ref().ok(), slow_domain(text).as_ref(), "{text:?}");
    let Ok(read) = read else { return };
    assert!(!read.to_string().contains(Harmless::is_harmful), "{read}");
    let forced = match &read {
        DomainRef::Id(domid) => format!("id:{domid}"),
        DomainRef::Uuid(uuid) => format!("uuid:{uuid}"),
        DomainRef::Name(name) => format!("name:{}", name.0),
        DomainRef::Same(_) => panic!("nobody types this"),
    };
    assert_eq!(forced.parse(), Ok(read), "{text:?}");
}

/// What `text` calls, by the letter of the contract.
fn slow_domain(text: &str) -> Option<DomainRef> {
    let id = |digits: &str| {
        let digits = digits.trim_start_matches('0');
        let number = if digits.is_empty() { 0 } else { digits.parse::<u32>().ok()? };
        DomId::new(number).map(DomainRef::Id)
    };
    let all_digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
    let name = |name: &str| {
        (!name.is_empty()).then(|| DomainRef::Name(xmem::domain::Name(name.to_owned())))
    };
    if let Some(rest) = text.strip_prefix("id:") {
        if all_digits(rest) { id(rest) } else { None }
    } else if let Some(rest) = text.strip_prefix("uuid:") {
        slow_uuid(rest)
    } else if let Some(rest) = text.strip_prefix("name:") {
        name(rest)
    } else if all_digits(text) {
        id(text)
    } else if text.trim().is_empty() {
        None
    } else {
        slow_uuid(text).or_else(|| name(text))
    }
}

fn slow_uuid(text: &str) -> Option<DomainRef> {
    let bytes = text.as_bytes();
    if bytes.len() != 36 {
        return None;
    }
    let mut digits = Vec::new();
    for (at, byte) in bytes.iter().enumerate() {
        if [8, 13, 18, 23].contains(&at) {
            if *byte != b'-' {
                return None;
            }
        } else {
            digits.push(char::from(*byte).to_digit(16)?);
        }
    }
    let pair = |pair: &[u32]| u8::try_from(pair[0] * 16 + pair[1]).unwrap();
    let bytes: Vec<u8> = digits.chunks(2).map(pair).collect();
    Some(DomainRef::Uuid(Uuid(bytes.try_into().unwrap())))
}

/// Every line is taken or told of, in order, once; what is taken makes sense.
pub(crate) fn batch(text: &str) {
    let count = text.lines().count();
    let numbers: Vec<usize> = match batch::parse(text) {
        Ok(lines) => lines
            .iter()
            .map(|line| {
                let (Amount::To(kib) | Amount::Up(kib) | Amount::Down(kib)) = line.size.amount;
                assert!(kib.0 >= 4 && kib.0.is_multiple_of(4) && line.size.cut < 4096, "{line:?}");
                line.number
            })
            .collect(),
        Err(errors) => {
            assert!(!errors.is_empty());
            errors.iter().map(|(number, _)| *number).collect()
        }
    };
    assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
    assert!(numbers.iter().all(|number| (1..=count).contains(number)), "{numbers:?}");
}

/// What is believed survives its own file; what is not, says why, and harmlessly.
pub(crate) fn intent(bytes: &[u8]) {
    match intent::parse(bytes) {
        Found::Nothing => panic!("something stands there"),
        Found::Intent(found) => {
            let again = serde_json::to_vec(&found).unwrap();
            assert_eq!(intent::parse(&again), Found::Intent(found));
        }
        Found::Foreign { why } => {
            assert!(!why.is_empty() && why.len() < 4096, "{why}");
            assert!(!why.contains(Harmless::is_harmful), "{why}");
        }
    }
}

/// A client that does a bit of everything while `bytes` and then the end lie ready for it: whatever it
/// makes of them, it ends in time, its errors are its own, and all that it sent were whole requests.
pub(crate) fn wire(bytes: &[u8]) {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    // A socket takes 200 KiB before anybody reads.
    theirs.write_all(&bytes[..bytes.len().min(100_000)]).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    let begun = Instant::now();
    let client = Client::from_socket(ours, Duration::from_secs(20)).unwrap();
    own(client.directory("/a"));
    own(client.read_each(&["/a", "/b"]));
    if let Some(span) = own(client.transaction()) {
        own(span.read("/a"));
        own(span.write_each(&[("/a", "1"), ("/b", "2")]));
        own(span.commit());
    }
    own(client.directory("/a"));
    own(client.watch("/a"));
    own(client.wait(Duration::ZERO));
    assert!(client.take_events().len() <= 1024);
    assert!(own(client.read("/a")).is_none(), "it must have met the end by now");
    drop(client);
    assert!(begun.elapsed() < Duration::from_secs(10));
    let mut sent = Vec::new();
    theirs.read_to_end(&mut sent).unwrap();
    let mut rest = &sent[..];
    while let Some((head, after)) = rest.split_first_chunk::<16>() {
        let len = u32::from_ne_bytes(head[12..].try_into().unwrap());
        rest = &after[usize::try_from(len).unwrap()..];
    }
    assert!(rest.is_empty());
}

/// What came of it. An error is one of the client's own, and can be shown as it is.
fn own<T>(result: io::Result<T>) -> Option<T> {
    let shown = |error: &io::Error| StoreError::of(error).unwrap().to_string();
    if let Err(error) = &result {
        assert!(!shown(error).contains(Harmless::is_harmful), "{error:?}");
    }
    result.ok()
}
