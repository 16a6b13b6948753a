//! Numbers in a range, which every error names.

use super::phrase::{option_in, refusal};
use clap::builder::TypedValueParser;
use clap::{Arg, Command, Error};
use std::ffi::OsStr;
use std::marker::PhantomData;
use std::num::NonZeroUsize;
use std::ops::{Bound, RangeBounds};

/// What a whole number is kept as.
pub trait Count: Clone + Send + Sync + 'static {
    /// The number, if it can be kept.
    fn of(number: u64) -> Option<Self>;
}

impl Count for u64 {
    fn of(number: u64) -> Option<Self> {
        Some(number)
    }
}

impl Count for u16 {
    fn of(number: u64) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Count for u32 {
    fn of(number: u64) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Count for usize {
    fn of(number: u64) -> Option<Self> {
        number.try_into().ok()
    }
}

impl Count for NonZeroUsize {
    fn of(number: u64) -> Option<Self> {
        Self::new(number.try_into().ok()?)
    }
}

/// A whole number in a range, such as `1..` or `2..=500`.
pub fn whole<T: Count>(range: impl RangeBounds<u64>) -> impl TypedValueParser<Value = T> {
    let least = match range.start_bound() {
        Bound::Included(least) => *least,
        Bound::Excluded(less) => less.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let most = match range.end_bound() {
        Bound::Included(most) => *most,
        Bound::Excluded(more) => more.saturating_sub(1),
        Bound::Unbounded => u64::MAX,
    };
    let expected = match most {
        u64::MAX => format!("a whole number, {least} or more"),
        most => format!("a whole number, {least} to {most}"),
    };
    let read = move |text: &str| {
        let number = text.trim().parse().ok();
        let number = number.filter(|n| (least..=most).contains(n));
        number.and_then(T::of)
    };
    Number {
        read,
        expected,
        kept: PhantomData,
    }
}

/// A number from `least` to `most`.
pub fn real(least: f64, most: f64) -> impl TypedValueParser<Value = f64> {
    Number {
        read: move |text: &str| {
            let number = text.trim().parse().ok();
            number.filter(|number| (least..=most).contains(number))
        },
        expected: format!("a number, {least} to {most}"),
        kept: PhantomData,
    }
}

/// Reads a number, or says what is expected.
#[derive(Clone)]
struct Number<T, F> {
    read: F,
    expected: String,
    kept: PhantomData<T>,
}

impl<T, F> TypedValueParser for Number<T, F>
where
    T: Clone + Send + Sync + 'static,
    F: Fn(&str) -> Option<T> + Clone + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, Error> {
        if let Some(number) = value.to_str().and_then(|text| (self.read)(text)) {
            return Ok(number);
        }
        let expected = &self.expected;
        let reason = match option_in(command, value) {
            Some(option) => format!("{option} is an option, and before it {expected}, is missing"),
            None => format!("it must be {expected}"),
        };
        Err(refusal(reason, command, arg, value))
    }
}
