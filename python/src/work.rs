//! Long work beside a Python interpreter: in our own threads, with the interpreter free for its others, and ended by Ctrl-C.

use crate::error::raised;
use fewstep::Error;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// Between two looks whether somebody wants to leave.
const LOOK: Duration = Duration::from_millis(50);

/// How far work is, and whether it is to end.
#[derive(Default)]
pub struct Watch {
    stop: AtomicBool,
    done: AtomicUsize,
    total: AtomicUsize,
}

impl Watch {
    /// Whether to end.
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Notes how far it is.
    pub fn set(&self, done: usize, total: usize) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
    }
}

/// The threads that compute, as many as FEWSTEP_THREADS says or the machine has: not the interpreter's, so that each operation
/// begins where the one before it ended.
fn threads() -> PyResult<&'static rayon::ThreadPool> {
    static POOL: OnceLock<Result<rayon::ThreadPool, String>> = OnceLock::new();
    let pool = POOL.get_or_init(|| {
        let typed = match std::env::var("FEWSTEP_THREADS") {
            Ok(typed) => typed,
            Err(_) => "0".into(),
        };
        let count = typed
            .parse()
            .map_err(|_| format!("FEWSTEP_THREADS is `{typed}`, but must be a whole number"))?;
        let pool = rayon::ThreadPoolBuilder::new().num_threads(count).build();
        pool.map_err(|error| format!("cannot start the threads: {error}"))
    });
    pool.as_ref()
        .map_err(|error| PyRuntimeError::new_err(error.clone()))
}

/// Does some work; `progress` is a Python function that is told how much is done of how much. Ctrl-C and an exception of that
/// function end it after the next call of the network.
pub fn run<T: Send>(
    py: Python<'_>,
    progress: Option<Py<PyAny>>,
    work: impl FnOnce(&Watch) -> Result<T, Error> + Send,
) -> PyResult<T> {
    let pool = threads()?;
    let watch = Watch::default();
    let ended = py.detach(|| {
        let (send, receive) = channel();
        let watch = &watch;
        pool.in_place_scope(|scope| {
            // The only one that sends: where it panics, waiting ends.
            scope.spawn(move |_| {
                // Nobody listens any more only if the scope was left by a panic.
                let _ = send.send(work(watch));
            });
            let mut raised = None;
            let mut told = 0;
            let outcome = loop {
                match receive.recv_timeout(LOOK) {
                    Ok(outcome) => break Some(outcome),
                    Err(RecvTimeoutError::Disconnected) => break None,
                    Err(RecvTimeoutError::Timeout) if raised.is_none() => {
                        let look =
                            Python::attach(|py| look(py, progress.as_ref(), watch, &mut told));
                        if let Err(error) = look {
                            watch.stop.store(true, Ordering::Relaxed);
                            raised = Some(error);
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                }
            };
            (outcome, raised, told)
        })
    });
    match ended {
        (_, Some(error), _) => Err(error),
        (Some(Ok(value)), None, mut told) => {
            look(py, progress.as_ref(), &watch, &mut told)?;
            Ok(value)
        }
        (Some(Err(error)), None, _) => Err(raised(error)),
        (None, None, _) => Err(PyRuntimeError::new_err("the work ended without an answer")),
    }
}

/// Lets Python see to its signals, and tells how far the work is.
fn look(
    py: Python<'_>,
    progress: Option<&Py<PyAny>>,
    watch: &Watch,
    told: &mut usize,
) -> PyResult<()> {
    py.check_signals()?;
    let done = watch.done.load(Ordering::Relaxed);
    if let Some(progress) = progress.filter(|_| done > *told) {
        *told = done;
        progress.call1(py, (done, watch.total.load(Ordering::Relaxed)))?;
    }
    Ok(())
}
