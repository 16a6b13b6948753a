//! What happens when the system has no memory left.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::OnceLock;

/// What to do about it, for people.
static ADVICE: OnceLock<&'static str> = OnceLock::new();

/// The system's allocator for a program that people run: where there is no memory left, it says so in a line on stderr, with
/// the size that was asked for and the [`advice`](Self::advise), and ends the process with status 1. Rust's own way is to
/// abort, which looks like a fault of the program.
///
/// Code that asks whether there is memory (`try_reserve`) gets no answer either: this is for programs that have none to give.
///
/// ```
/// #[global_allocator]
/// static MEMORY: fewstep_kernels::OrExit = fewstep_kernels::OrExit;
/// # fn main() {}
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct OrExit;

impl OrExit {
    /// Sets the advice that stands in the line, such as `lower --batch`. The first one stays.
    pub fn advise(advice: &'static str) {
        let _ = ADVICE.set(advice);
    }
}

// SAFETY: every call is passed on to the system's allocator with the arguments that came; what it returns is returned unless it
// is null, and then nothing is.
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that the system's allocator asks for.
        there(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        there(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; `old` came from the system's allocator, as all of ours do.
        there(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(old, layout) }
    }
}

/// The memory, if it is there.
fn there(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() {
        end(size);
    }
    memory
}

/// Says how much was asked for, without asking for any, and ends the process.
#[cold]
fn end(size: usize) -> ! {
    let mut line = Line::default();
    // A line that is too long is cut off.
    let _ = write(&mut line, size, ADVICE.get().copied());
    let _ = std::io::stderr().write_all(line.bytes());
    // No clean-up: it might ask for memory, or wait for a thread that does.
    #[cfg(unix)]
    // SAFETY: ends the process, and touches nothing of it.
    unsafe {
        libc::_exit(1)
    }
    #[cfg(not(unix))]
    std::process::exit(1)
}

fn write(line: &mut Line, size: usize, advice: Option<&str>) -> std::fmt::Result {
    let size = size as f64;
    line.write_str("error: out of memory: ")?;
    match size {
        s if s >= 1e9 => write!(line, "{:.2} GB", s / 1e9)?,
        s if s >= 1e6 => write!(line, "{:.1} MB", s / 1e6)?,
        s => write!(line, "{:.1} kB", s / 1e3)?,
    }
    line.write_str(" more were asked for, and the system has none to give")?;
    if let Some(advice) = advice {
        write!(line, "; {advice}")?;
    }
    line.write_str("\n")
}

/// A line of text on the stack.
struct Line {
    text: [u8; 512],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            text: [0; 512],
            len: 0,
        }
    }
}

impl Line {
    fn bytes(&self) -> &[u8] {
        &self.text[..self.len]
    }
}

impl std::fmt::Write for Line {
    fn write_str(&mut self, more: &str) -> std::fmt::Result {
        let room = &mut self.text[self.len..];
        let count = more.len().min(room.len());
        room[..count].copy_from_slice(&more.as_bytes()[..count]);
        self.len += count;
        match count == more.len() {
            true => Ok(()),
            false => Err(std::fmt::Error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_size_and_advice() {
        let text = |size, advice| {
            let mut line = Line::default();
            let _ = write(&mut line, size, advice);
            String::from_utf8(line.bytes().to_vec()).unwrap()
        };
        assert_eq!(
            text(2_500_000_000, Some("lower --batch")),
            "error: out of memory: 2.50 GB more were asked for, and the system has none to give; lower --batch\n"
        );
        assert!(
            text(1000, None)
                .ends_with(": 1.0 kB more were asked for, and the system has none to give\n")
        );
        assert_eq!(text(1000, Some(&"x".repeat(900))).len(), 512);
    }

    #[test]
    fn it_gives_what_the_system_gives() {
        let layout = Layout::from_size_align(64, 32).unwrap();
        // SAFETY: allocated, grown, read within its size and freed with its layout.
        unsafe {
            let memory = OrExit.alloc_zeroed(layout);
            assert!(!memory.is_null() && memory.addr().is_multiple_of(32));
            assert_eq!(*memory.add(63), 0);
            *memory = 7;
            let memory = OrExit.realloc(memory, layout, 1 << 20);
            assert_eq!(*memory, 7);
            OrExit.dealloc(memory, Layout::from_size_align(1 << 20, 32).unwrap());
        }
    }
}
