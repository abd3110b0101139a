//! How a user writes an amount of memory: the grammar of SIZE.
//!
//! Rounding is never silent: [`Size::cut`] is what a size lost on its way to whole pages.

use std::str::FromStr;

use xen::Kib;
use xen::size::PAGE;

/// What a size asks for: an amount, or a step from what is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// Exactly this much.
    To(Kib),
    /// This much more than now.
    Up(Kib),
    /// This much less than now.
    Down(Kib),
}

/// A size as a user wrote it, in whole pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// What is asked for, a multiple of 4 KiB, never zero.
    pub amount: Amount,
    /// How many bytes were cut off to get to whole pages; less than 4096.
    pub cut: u64,
}

/// Why a text is not a size. The text itself is not repeated here: whoever reports it has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SizeError {
    /// Nothing was written, or only white space.
    #[error("the size is empty")]
    Empty,
    /// A unit (or a sign) without a number.
    #[error("a number is missing")]
    NoNumber,
    /// Zero, or less than one page.
    #[error("it is less than one page (4 KiB)")]
    Zero,
    /// A fraction such as `1.5G`.
    #[error("fractions are not taken")]
    Fraction,
    /// `KB`, `MB`, `GB`, `TB`: 1000 or 1024, nobody knows.
    #[error("`{0}B` is ambiguous (1000 or 1024)")]
    DecimalUnit(char),
    /// Anything else behind the number.
    #[error("the unit is not one of b, k, m, g, t, KiB, MiB, GiB, TiB")]
    Unit,
    /// Hexadecimal, blanks, separators, letters.
    #[error("it is not a whole decimal number with a unit")]
    NotANumber,
    /// More than 2^64 bytes' worth of KiB.
    #[error("it is too large")]
    Overflow,
}

impl SizeError {
    /// What to write instead.
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Fraction => "write it in the next smaller unit: 1536M for 1.5G",
            Self::DecimalUnit(_) => "write M or MiB for 1024 * 1024 bytes",
            Self::Empty => {
                "is a variable unset in your script? a size looks like 512M, +256M or -256M"
            }
            _ => "a size looks like 512M, 2GiB, +256M or -256M; a bare number is MiB",
        }
    }
}

impl FromStr for Size {
    type Err = SizeError;

    /// Reads `[+|-]DIGITS[UNIT]`, UNIT being one of `b k m g t KiB MiB GiB TiB` in any case; none
    /// is MiB, as in xl.
    fn from_str(text: &str) -> Result<Self, SizeError> {
        if text.trim().is_empty() {
            return Err(SizeError::Empty);
        }
        let (wrap, rest): (fn(Kib) -> Amount, &str) = match text.split_at_checked(1) {
            Some(("+", rest)) => (Amount::Up, rest),
            Some(("-", rest)) => (Amount::Down, rest),
            _ => (Amount::To, text),
        };
        let (digits, unit) =
            rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let bytes_per_unit = unit_bytes(unit)?;
        if digits.is_empty() {
            return Err(SizeError::NoNumber);
        }
        let number: u64 = digits.parse().map_err(|_| SizeError::Overflow)?;
        // 2^64 times 2^40 fits well into 128 bits, so nothing here can wrap.
        let bytes = u128::from(number).saturating_mul(u128::from(bytes_per_unit));
        let pages = bytes / BYTES_PER_PAGE;
        let kib = u64::try_from(pages)
            .ok()
            .and_then(|pages| pages.checked_mul(PAGE.0))
            .ok_or(SizeError::Overflow)?;
        if kib == 0 {
            return Err(SizeError::Zero);
        }
        let cut = u64::try_from(bytes % BYTES_PER_PAGE).map_err(|_| SizeError::Overflow)?;
        Ok(Self { amount: wrap(Kib(kib)), cut })
    }
}

const BYTES_PER_PAGE: u128 = 4096;

/// How many bytes `unit` stands for, or why it stands for nothing.
fn unit_bytes(unit: &str) -> Result<u64, SizeError> {
    const KIB: u64 = 1024;
    const MIB: u64 = KIB * KIB;
    match unit.to_ascii_lowercase().as_str() {
        "" | "m" | "mib" => Ok(MIB),
        "b" => Ok(1),
        "k" | "kib" => Ok(KIB),
        "g" | "gib" => Ok(KIB * MIB),
        "t" | "tib" => Ok(MIB * MIB),
        "kb" | "mb" | "gb" | "tb" => {
            Err(SizeError::DecimalUnit(unit.chars().next().unwrap_or('M').to_ascii_uppercase()))
        }
        other if other.starts_with(['.', ',']) => Err(SizeError::Fraction),
        other if other.starts_with(|c: char| c.is_ascii_alphabetic()) => Err(SizeError::Unit),
        _ => Err(SizeError::NotANumber),
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "a test may overflow")]
mod tests {
    use proptest::prelude::*;

    use xen::Mib;

    use super::*;

    fn to(kib: u64) -> Size {
        Size { amount: Amount::To(Kib(kib)), cut: 0 }
    }

    #[test]
    fn accepted_spellings() {
        for (text, kib) in [
            ("512", 524_288),
            ("512M", 524_288),
            ("512m", 524_288),
            ("512MiB", 524_288),
            ("512mib", 524_288),
            ("524288k", 524_288),
            ("524288KiB", 524_288),
            ("536870912b", 524_288),
            ("1g", 1_048_576),
            ("1GiB", 1_048_576),
            ("1T", 1_073_741_824),
            ("0512", 524_288),
            ("4k", 4),
            ("6370254848k", 6_370_254_848), // truncated to 32 bits by Xen's OCaml stubs until 2026
        ] {
            assert_eq!(text.parse(), Ok(to(kib)), "{text}");
        }
        assert_eq!("+256M".parse(), Ok(Size { amount: Amount::Up(Kib(262_144)), cut: 0 }));
        assert_eq!("-256".parse(), Ok(Size { amount: Amount::Down(Kib(262_144)), cut: 0 }));
    }

    #[test]
    fn cut_to_whole_pages_and_said() {
        assert_eq!("4097b".parse(), Ok(Size { amount: Amount::To(Kib(4)), cut: 1 }));
        assert_eq!("10k".parse(), Ok(Size { amount: Amount::To(Kib(8)), cut: 2048 }));
    }

    #[test]
    fn refused_spellings() {
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
            ("-0", SizeError::Zero),
            ("1.5g", SizeError::Fraction),
            ("1,5g", SizeError::Fraction),
            ("512MB", SizeError::DecimalUnit('M')),
            ("512kb", SizeError::DecimalUnit('K')),
            ("0x200", SizeError::Unit),
            ("512Mi", SizeError::Unit),
            ("512 M", SizeError::NotANumber),
            (" 512", SizeError::NotANumber),
            ("--5", SizeError::NotANumber),
            ("+-5", SizeError::NotANumber),
            ("½g", SizeError::NotANumber),
            ("1_000", SizeError::NotANumber),
            ("18446744073709551616", SizeError::Overflow),
            ("18446744073709551615t", SizeError::Overflow),
        ] {
            assert_eq!(text.parse::<Size>(), Err(error), "{text:?}");
        }
    }

    #[test]
    fn shown_in_the_largest_exact_unit() {
        assert_eq!(Kib(524_288).to_string(), "512 MiB");
        assert_eq!(Kib(524_289).to_string(), "524289 KiB");
        assert_eq!(Kib(0).to_string(), "0 KiB");
        assert_eq!(Kib(17_179_869_180).to_string(), "17179869180 KiB");
    }

    #[test]
    fn measured_amounts_have_one_digit() {
        assert_eq!(Mib(Kib(1024)).to_string(), "1");
        assert_eq!(Mib(Kib(1023)).to_string(), "0.9");
        assert_eq!(Mib(Kib(522_984)).to_string(), "510.7");
        assert_eq!(Mib(Kib(1025)).to_string(), "1");
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,40}") {
            prop_assume!(text.parse::<Size>().is_err());
        }

        #[test]
        fn grammar_round_trips(pages in 1_u64..=u64::MAX / 4096, sign in "[+-]?") {
            let parsed: Size = format!("{sign}{}b", pages * 4096).parse().unwrap();
            let amount = match parsed.amount {
                Amount::To(kib) | Amount::Up(kib) | Amount::Down(kib) => kib,
            };
            prop_assert_eq!((amount.pages(), parsed.cut), (pages, 0));
        }
    }
}
