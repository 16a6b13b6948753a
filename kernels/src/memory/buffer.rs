//! Output buffers filled by parallel tasks, and per-thread scratch memory.

use rayon::prelude::*;
use std::cell::RefCell;

/// A raw output pointer that tasks writing disjoint parts may share.
#[derive(Clone, Copy)]
pub(crate) struct Out(*mut f32);

// SAFETY: only a pointer is moved; every use writes a part no other task touches (see the callers).
unsafe impl Send for Out {}
// SAFETY: as above.
unsafe impl Sync for Out {}

impl Out {
    /// Points at the start of `data`.
    pub(crate) fn new(data: &mut [f32]) -> Self {
        Self(data.as_mut_ptr())
    }

    /// Points at `start`.
    pub(crate) fn from_pointer(start: *mut f32) -> Self {
        Self(start)
    }

    /// The address `offset` values on.
    ///
    /// # Safety
    /// `offset` must lie within the buffer this was made from.
    pub(crate) unsafe fn at(self, offset: usize) -> *mut f32 {
        // SAFETY: in bounds by contract.
        unsafe { self.0.add(offset) }
    }
}

/// Makes a vector of `len` values that `fill` writes.
///
/// # Safety
/// `fill` must write all `len` values, and nothing outside them.
pub(crate) unsafe fn filled(len: usize, fill: impl FnOnce(Out)) -> Vec<f32> {
    let mut out: Vec<f32> = Vec::with_capacity(len);
    fill(Out(out.as_mut_ptr()));
    // SAFETY: the capacity was reserved and every value was written by `fill`'s contract.
    unsafe { out.set_len(len) };
    out
}

/// Makes a vector of `count * chunk` values, the chunks filled in parallel by `fill(index, start)`.
///
/// # Safety
/// `fill` must write all `chunk` values from `start` on, and nothing outside them.
pub(crate) unsafe fn chunks(
    count: usize,
    chunk: usize,
    fill: impl Fn(usize, *mut f32) + Sync,
) -> Vec<f32> {
    let len = count * chunk;
    let mut out: Vec<f32> = Vec::with_capacity(len);
    if len > 0 {
        let start = Out(out.as_mut_ptr());
        (0..count).into_par_iter().for_each(|i| {
            // SAFETY: i < count, so the chunk lies inside the reserved capacity; chunks are disjoint.
            fill(i, unsafe { start.at(i * chunk) });
        });
    }
    // SAFETY: the capacity was reserved and every chunk was written by `fill`'s contract.
    unsafe { out.set_len(len) };
    out
}

/// A cache line; memory of these is aligned as vectors like it.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; LINE]);

/// Values in a cache line.
pub(crate) const LINE: usize = 16;

/// Memory for `len` values, aligned to cache lines and not yet written.
pub(crate) struct Room(Vec<Line>);

impl Room {
    pub(crate) fn new(len: usize) -> Self {
        Self(Vec::with_capacity(len.div_ceil(LINE)))
    }

    pub(crate) fn out(&mut self) -> Out {
        Out(self.0.as_mut_ptr().cast())
    }
}

/// Runs `work` with a scratch slice of `len` values kept per thread between calls, aligned to cache lines.
///
/// The contents are whatever an earlier call left there. `work` must not call this again or enter
/// rayon (another task on this thread would find the scratch taken).
pub(crate) fn with_scratch<R>(len: usize, work: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<Line>> = const { RefCell::new(Vec::new()) };
    }
    SCRATCH.with(|cell| {
        let mut scratch = cell.borrow_mut();
        if scratch.len() * LINE < len {
            scratch.resize(len.div_ceil(LINE), Line([0.0; LINE]));
        }
        // SAFETY: a line is sixteen f32 without gaps, and `scratch` holds at least `len` of them.
        work(unsafe { std::slice::from_raw_parts_mut(scratch.as_mut_ptr().cast(), len) })
    })
}

/// Makes a vector of `len` values, filled in parallel by `fill(range, start of the range)`.
///
/// # Safety
/// `fill` must write all values of its range, and nothing outside it.
pub(crate) unsafe fn spans(
    len: usize,
    fill: impl Fn(std::ops::Range<usize>, *mut f32) + Sync,
) -> Vec<f32> {
    /// Values per task: enough work to pay for handing it out.
    const SPAN: usize = 1 << 13;
    let mut out: Vec<f32> = Vec::with_capacity(len);
    let start = Out(out.as_mut_ptr());
    (0..len.div_ceil(SPAN)).into_par_iter().for_each(|i| {
        let range = i * SPAN..((i + 1) * SPAN).min(len);
        // SAFETY: the range lies inside the reserved capacity; ranges are disjoint.
        let to = unsafe { start.at(range.start) };
        fill(range, to);
    });
    // SAFETY: the capacity was reserved and every range was written by `fill`'s contract.
    unsafe { out.set_len(len) };
    out
}

/// Adds `count` rows of `size` in order.
pub(crate) fn add_up(mut rows: Vec<f32>, count: usize, size: usize) -> Vec<f32> {
    if count == 0 {
        return vec![0.0; size];
    }
    let (head, tail) = rows.split_at_mut(size);
    for row in tail.chunks_exact(size.max(1)) {
        for (a, b) in head.iter_mut().zip(row) {
            *a += b;
        }
    }
    rows.truncate(size);
    rows
}
