//! Results on stdout, whoever reads them.

use std::io::{ErrorKind, Write};

/// As `println!`; but who has stopped reading (`fewstep inspect FILE | head -3`) has seen enough, and the work goes on.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
pub(crate) use say;

/// Writes a line, and ends the process if that is impossible for another reason than that nobody reads.
pub(crate) fn line(text: std::fmt::Arguments<'_>) {
    let written = writeln!(std::io::stdout().lock(), "{text}");
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        eprintln!("error: cannot write to standard output: {error}");
        std::process::exit(1);
    }
}
