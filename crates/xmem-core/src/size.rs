//! The grammar of SIZE: how a user writes an amount of memory.
//!
//! Rounding is never silent: [`Size::cut`] has the bytes that were rounded off.

use std::fmt;
use std::str::FromStr;

use xen::Kib;
use xen::size::PAGE;

/// An absolute size, a relative one, or a share of the maximum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Amount {
    /// Exactly this much.
    To(Kib),
    /// As much as gives the domain this target: video memory is added. Only a list has it, as `target_kib`.
    Target(Kib),
    /// This much more than now. Zero is allowed: it changes nothing.
    Up(Kib),
    /// This much less than now.
    Down(Kib),
    /// `max`: the domain's maximum, `memory/static-max`.
    Maximum,
    /// `50%`: a share of the domain's maximum, 1 to 100.
    Percent(u8),
}

impl Amount {
    /// Whether the result depends on the domain's present size, so that asking twice can change twice.
    pub const fn is_step(self) -> bool {
        matches!(self, Self::Up(_) | Self::Down(_))
    }
}

/// As a user writes it: `1G`, `+256M`, `max`, `50%`.
impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::To(size) | Self::Target(size) => write!(f, "{}", Written(*size)),
            Self::Up(more) => write!(f, "+{}", Written(*more)),
            Self::Down(less) => write!(f, "-{}", Written(*less)),
            Self::Maximum => f.write_str("max"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

/// A size as a user wrote it, in whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// The amount, a multiple of 4 KiB. Only a relative one can be zero.
    pub amount: Amount,
    /// The bytes that were rounded off to whole pages; less than 4096.
    pub cut: u64,
}

impl Size {
    /// `amount`, with nothing rounded off.
    pub const fn exact(amount: Amount) -> Self {
        Self { amount, cut: 0 }
    }

    /// `size`, rounded down to whole pages.
    pub const fn to(size: Kib) -> Self {
        let whole = Kib::from_pages(size.pages());
        let cut = size.0.saturating_sub(whole.0).saturating_mul(1024);
        Self { amount: Amount::To(whole), cut }
    }
}

/// Displays a size as a user writes it, exactly and in the largest unit: `1G`, `1536M`, `1000004k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written(pub Kib);

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.0 {
            kib if kib.is_multiple_of(1 << 20) => write!(f, "{}G", kib >> 20),
            kib if kib.is_multiple_of(1 << 10) => write!(f, "{}M", kib >> 10),
            kib => write!(f, "{kib}k"),
        }
    }
}

/// The reason why a text is not a size. The text itself is not repeated here: the caller has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SizeError {
    /// The text is empty, or only white space.
    #[error("the size is empty")]
    Empty,
    /// A unit or a sign without a number.
    #[error("a number is missing")]
    NoNumber,
    /// Zero, or less than one page.
    #[error("it is less than one page (4 KiB)")]
    Zero,
    /// A fraction such as `1.5G`.
    #[error("fractions are not accepted")]
    Fraction {
        /// The same amount without a fraction; `None` if there is none, as for `0.1G` or `1.x`.
        exact: Option<Amount>,
    },
    /// `2,000M` or `1.500G`, which can mean a fraction or thousands.
    #[error("`{0}` can separate thousands or decimals")]
    Separator(char),
    /// `KB`, `MB`, `GB`, `TB`, which can mean powers of 1000 or of 1024.
    #[error("`{unit}B` is ambiguous (powers of 1000 or of 1024?)")]
    DecimalUnit {
        /// Its first letter.
        unit: char,
        /// The amount in powers of 1024; `None` if that is not in whole pages.
        binary: Option<Amount>,
    },
    /// A share above 100%, or one with a sign.
    #[error("a percentage is 1% to 100% of the domain's maximum, without a sign")]
    Share,
    /// Some other unit.
    #[error("the unit is not one of b, k, m, g, t, KiB, MiB, GiB, TiB, %")]
    Unit,
    /// Hexadecimal, blanks, separators, letters.
    #[error("it is not a whole number with an optional unit")]
    NotANumber,
    /// More KiB than fit into 64 bits.
    #[error("it is too large")]
    Overflow,
}

impl SizeError {
    /// What to write instead.
    pub fn hint(self) -> String {
        self.hint_with("512M, 2GiB, +256M, -256M, max or 50%")
    }

    /// The same where no relative size is taken: one like the `examples`.
    pub fn hint_without_step(self, examples: &str) -> String {
        match self {
            Self::Fraction { exact: Some(amount) }
            | Self::DecimalUnit { binary: Some(amount), .. }
                if amount.is_step() =>
            {
                like(examples)
            }
            why => why.hint_with(examples),
        }
    }

    fn hint_with(self, examples: &str) -> String {
        match self {
            Self::Fraction { exact: Some(amount) } => {
                format!("write it without a fraction: {amount}")
            }
            Self::Separator(_) => "write a whole number without separators".to_owned(),
            Self::Fraction { exact: None } => {
                "use a smaller unit, or a whole percentage: 1536M for 1.5G".to_owned()
            }
            Self::DecimalUnit { binary: Some(amount), .. } => {
                format!("for powers of 1024, write {amount}")
            }
            Self::DecimalUnit { unit, binary: None } => {
                format!("for powers of 1024, write {unit} or {unit}iB")
            }
            Self::Empty => {
                "is a variable unset in your script? a size looks like 512M or 2G".to_owned()
            }
            _ => like(examples),
        }
    }
}

fn like(examples: &str) -> String {
    format!("a size looks like {examples}; a bare number is MiB")
}

impl FromStr for Size {
    type Err = SizeError;

    /// Parses `[+|-]DIGITS[UNIT]`, `max` or `1%` to `100%`. UNIT is `b k m g t`, `Ki Mi Gi Ti` or `KiB MiB GiB TiB`, in
    /// any case; without one, DIGITS are MiB, as in xl.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        if text.trim().is_empty() {
            return Err(SizeError::Empty);
        }
        if text.eq_ignore_ascii_case("max") {
            return Ok(Self::exact(Amount::Maximum));
        }
        let (wrap, rest): (fn(Kib) -> Amount, &str) = match text.split_at_checked(1) {
            Some(("+", rest)) => (Amount::Up, rest),
            Some(("-", rest)) => (Amount::Down, rest),
            _ => (Amount::To, text),
        };
        let is_absolute = rest.len() == text.len();
        let (digits, unit) = split_digits(rest);
        if digits.is_empty() {
            return Err(unit_bytes(unit).map_or(SizeError::NotANumber, |_| SizeError::NoNumber));
        }
        if unit == "%" {
            let share =
                digits.parse().ok().filter(|share| is_absolute && (1..=100).contains(share));
            return share.map(|share| Self::exact(Amount::Percent(share))).ok_or(SizeError::Share);
        }
        let mut after = unit.chars();
        if let Some(separator @ ('.' | ',')) = after.next() {
            let fraction = after.as_str();
            return Err(if separates_thousands(digits, fraction) {
                SizeError::Separator(separator)
            } else {
                SizeError::Fraction { exact: whole(digits, fraction).map(wrap) }
            });
        }
        let bytes_per_unit = unit_bytes(unit).map_err(|why| match why {
            SizeError::DecimalUnit { unit, .. } => {
                let binary = text.strip_suffix(['b', 'B']).and_then(|text| text.parse().ok());
                let binary = binary.filter(|size: &Self| size.cut == 0).map(|size| size.amount);
                SizeError::DecimalUnit { unit, binary }
            }
            why => why,
        })?;
        let number: u64 = digits.parse().map_err(|_| SizeError::Overflow)?;
        // 2^64 times 2^40 fits into 128 bits.
        let bytes = u128::from(number).saturating_mul(bytes_per_unit);
        let kib = u64::try_from(bytes / BYTES_PER_PAGE)
            .ok()
            .and_then(|pages| pages.checked_mul(PAGE.0))
            .ok_or(SizeError::Overflow)?;
        if kib == 0 && is_absolute {
            return Err(SizeError::Zero);
        }
        let cut = u64::try_from(bytes % BYTES_PER_PAGE).map_err(|_| SizeError::Overflow)?;
        Ok(Self { amount: wrap(Kib(kib)), cut })
    }
}

const BYTES_PER_PAGE: u128 = 4096;

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len()))
}

/// Bytes per `unit`.
fn unit_bytes(unit: &str) -> Result<u128, SizeError> {
    match unit.to_ascii_lowercase().as_str() {
        "b" => Ok(1),
        "k" | "ki" | "kib" => Ok(1 << 10),
        "" | "m" | "mi" | "mib" => Ok(1 << 20),
        "g" | "gi" | "gib" => Ok(1 << 30),
        "t" | "ti" | "tib" => Ok(1 << 40),
        "kb" | "mb" | "gb" | "tb" => {
            let unit = unit.chars().next().unwrap_or('M').to_ascii_uppercase();
            Err(SizeError::DecimalUnit { unit, binary: None })
        }
        other if !other.is_empty() && other.chars().all(|c| c.is_ascii_alphabetic()) => {
            Err(SizeError::Unit)
        }
        _ => Err(SizeError::NotANumber),
    }
}

/// Whether the separator between `digits` and `fraction` may separate thousands: three digits follow it, or another one.
fn separates_thousands(digits: &str, fraction: &str) -> bool {
    let (decimals, rest) = split_digits(fraction);
    decimals.len() == 3 && !digits.starts_with('0') || rest.starts_with(['.', ','])
}

/// The size `digits.fraction`, if it is in whole pages.
fn whole(digits: &str, fraction: &str) -> Option<Kib> {
    let (decimals, unit) = split_digits(fraction);
    let scale = 10_u128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
    let scaled: u128 = [digits, decimals].concat().parse().ok()?;
    let bytes = scaled.checked_mul(unit_bytes(unit).ok()?)?;
    let bytes = bytes.is_multiple_of(scale).then(|| bytes.checked_div(scale))??;
    let is_whole_pages = bytes > 0 && bytes.is_multiple_of(BYTES_PER_PAGE);
    is_whole_pages.then(|| u64::try_from(bytes >> 10).ok().map(Kib))?
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn to(kib: u64) -> Size {
        Size::exact(Amount::To(Kib(kib)))
    }

    #[test]
    fn every_documented_spelling_is_accepted() {
        for (text, kib) in [
            ("512", 524_288),
            ("512M", 524_288),
            ("512m", 524_288),
            ("512Mi", 524_288),
            ("512MiB", 524_288),
            ("512mib", 524_288),
            ("524288k", 524_288),
            ("524288Ki", 524_288),
            ("524288KiB", 524_288),
            ("536870912b", 524_288),
            ("1g", 1_048_576),
            ("2Gi", 2_097_152),
            ("1GiB", 1_048_576),
            ("1T", 1_073_741_824),
            ("1ti", 1_073_741_824),
            ("0512", 524_288),
            ("4k", 4),
            ("6370254848k", 6_370_254_848), // truncated to 32 bits by Xen's OCaml stubs until 2026
        ] {
            assert_eq!(text.parse(), Ok(to(kib)), "{text}");
        }
        for (text, amount) in [
            ("+256M", Amount::Up(Kib(262_144))),
            ("-256", Amount::Down(Kib(262_144))),
            ("max", Amount::Maximum),
            ("MAX", Amount::Maximum),
            ("1%", Amount::Percent(1)),
            ("50%", Amount::Percent(50)),
            ("100%", Amount::Percent(100)),
        ] {
            assert_eq!(text.parse(), Ok(Size::exact(amount)), "{text}");
        }
    }

    #[test]
    fn rounding_to_whole_pages_is_reported() {
        assert_eq!("4097b".parse(), Ok(Size { amount: Amount::To(Kib(4)), cut: 1 }));
        assert_eq!("10k".parse(), Ok(Size { amount: Amount::To(Kib(8)), cut: 2048 }));
    }

    #[test]
    fn a_relative_size_may_be_zero() {
        assert_eq!("+0".parse(), Ok(Size::exact(Amount::Up(Kib(0)))));
        assert_eq!("-0M".parse(), Ok(Size::exact(Amount::Down(Kib(0)))));
        assert_eq!("+1k".parse(), Ok(Size { amount: Amount::Up(Kib(0)), cut: 1024 }));
    }

    #[test]
    fn malformed_sizes_are_refused() {
        let decimal = |unit, kib: Option<u64>| {
            let binary = kib.map(|kib| Amount::To(Kib(kib)));
            SizeError::DecimalUnit { unit, binary }
        };
        for (text, error) in [
            ("", SizeError::Empty),
            ("  ", SizeError::Empty),
            ("k", SizeError::NoNumber), // xl takes these two as 0
            ("m", SizeError::NoNumber),
            ("-", SizeError::NoNumber),
            ("+", SizeError::NoNumber),
            ("0", SizeError::Zero),
            ("0g", SizeError::Zero),
            ("3k", SizeError::Zero),
            ("512MB", decimal('M', Some(524_288))),
            ("512kb", decimal('K', Some(512))),
            ("0%", SizeError::Share),
            ("101%", SizeError::Share),
            ("256%", SizeError::Share),
            ("+10%", SizeError::Share),
            ("-10%", SizeError::Share),
            ("512Q", SizeError::Unit),
            ("1maximum", SizeError::Unit),
            ("0x200", SizeError::NotANumber),
            ("1e3", SizeError::NotANumber),
            ("min", SizeError::NotANumber),
            ("+max", SizeError::NotANumber),
            ("all", SizeError::NotANumber),
            ("512 M", SizeError::NotANumber),
            (" 512", SizeError::NotANumber),
            ("--5", SizeError::NotANumber),
            ("+-5", SizeError::NotANumber),
            ("½g", SizeError::NotANumber),
            ("1_000", SizeError::NotANumber),
            ("2,000M", SizeError::Separator(',')),
            ("-1.500G", SizeError::Separator('.')),
            ("1,000,000", SizeError::Separator(',')),
            ("1.000,5", SizeError::Separator('.')),
            ("18446744073709551616", SizeError::Overflow),
            ("18446744073709551615t", SizeError::Overflow),
        ] {
            assert_eq!(text.parse::<Size>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn the_hint_for_a_fraction_is_the_same_size() {
        for (text, hint) in [
            ("1.5G", Some("1536M")),
            ("1,5g", Some("1536M")),
            ("+1.5GiB", Some("+1536M")),
            ("-0.5G", Some("-512M")),
            ("0.125G", Some("128M")),
            ("2.0G", Some("2G")),
            ("1.5T", Some("1536G")),
            ("0.5", Some("512k")),
            ("512.00390625", Some("524292k")),
            ("0.1G", None),
            ("0.001", None),
            ("1.", Some("1M")),
            ("1.x", None),
            ("0.0G", None),
            ("20000000000000000.", None),
            ("1.00000000000000000000000000000000000000000G", None),
        ] {
            let Err(error @ SizeError::Fraction { exact }) = text.parse::<Size>() else {
                panic!("{text}");
            };
            assert_eq!(exact.map(|size| size.to_string()).as_deref(), hint, "{text}");
            if let Some(hint) = hint {
                assert!(error.hint().ends_with(hint), "{}", error.hint());
                assert_eq!(hint.parse::<Size>().unwrap().cut, 0);
            }
        }
    }

    #[test]
    fn the_hint_for_an_ambiguous_unit_can_be_pasted() {
        let hint = |text: &str| text.parse::<Size>().unwrap_err().hint();
        assert_eq!(hint("1GB"), "for powers of 1024, write 1G");
        assert_eq!(hint("-512mb"), "for powers of 1024, write -512M");
        assert_eq!(hint("1kb"), "for powers of 1024, write K or KiB");
        assert_eq!(hint("1tb"), "for powers of 1024, write 1024G");
    }

    #[test]
    fn a_size_is_displayed_in_the_largest_exact_unit() {
        for (kib, text) in [(1_048_576, "1G"), (1_572_864, "1536M"), (1_000_004, "1000004k")] {
            assert_eq!(Written(Kib(kib)).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn fractions_never_panic(digits in "[0-9]{1,60}", decimals in "[0-9]{0,60}", unit in "[bkmgt]?") {
            let error = format!("{digits}.{decimals}{unit}").parse::<Size>().unwrap_err();
            if let SizeError::Fraction { exact: Some(size) } = error {
                prop_assert!(size.to_string().parse::<Size>().is_ok());
            }
        }

        #[test]
        fn a_size_in_bytes_round_trips(pages in 1_u64..=u64::MAX / 4096, sign in "[+-]?") {
            let parsed: Size = format!("{sign}{}b", pages * 4096).parse().unwrap();
            let (Amount::To(kib) | Amount::Up(kib) | Amount::Down(kib)) = parsed.amount else { panic!() };
            prop_assert_eq!((kib.pages(), parsed.cut), (pages, 0));
        }
    }
}
