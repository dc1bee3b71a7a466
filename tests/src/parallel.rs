//! Work on as many processors as there are: compilers run one program at a time.

use std::sync::Mutex;
use std::thread;

/// Calls a function for each item, some at once; items are begun in order.
///
/// # Panics
///
/// If a call does, when the others have ended.
pub fn each<T: Send>(items: impl IntoIterator<Item = T>, call: impl Fn(T) + Sync) {
    let queue = Mutex::new(items.into_iter().collect::<Vec<_>>().into_iter());
    let next = || queue.lock().expect("nothing panics there").next();
    let workers = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(item) = next() {
                    call(item);
                }
            });
        }
    });
}
