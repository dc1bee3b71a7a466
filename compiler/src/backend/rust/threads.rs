//! What a program that threads share has beside `run`.

use proc_macro2::{Literal, TokenStream};
use quote::{format_ident, quote};

use super::frame::{arguments, call, exists, number, parameters};
use crate::backend::port::describe;
use crate::kernel::Program;
use crate::target::Target;

/// `run_parallel`, `run_parallel_unchecked`, and the trait of what runs the parts.
pub(super) fn run_parallel(program: &Program, target: &Target) -> TokenStream {
    let parameters = parameters(program, |p| number(p.scalar), "Arena");
    let arguments = arguments(program);
    let most = Literal::usize_unsuffixed(program.threads);
    let features = &target.rust.features;
    let entries = match exists(features) {
        None => quote! {
            /// Evaluates the network; threads share the work of each large layer.
            ///
            /// The integers are those of [`run`] for any number of threads.
            pub fn run_parallel(#parameters, threads: &dyn Threads) {
                evaluate(#arguments, Some(threads));
            }
        },
        Some(exists) => {
            let list = features.join(",");
            let named = features.join(", ");
            let safety = format!(" The processor has these features: {named}.");
            let proof = format!("SAFETY: the crate is compiled for processors with {named}.");
            quote! {
                /// Evaluates the network; threads share the work of each large layer.
                ///
                /// The integers are those of [`run`] for any number of threads. It exists where [`run`] does.
                #exists
                pub fn run_parallel(#parameters, threads: &dyn Threads) {
                    note!(#proof);
                    unsafe { evaluate(#arguments, Some(threads)) }
                }
                /// The same on a processor that the caller has asked for its features.
                ///
                /// # Safety
                ///
                #[doc = #safety]
                #[target_feature(enable = #list)]
                pub unsafe fn run_parallel_unchecked(#parameters, threads: &dyn Threads) {
                    note!("SAFETY: the caller's processor has the features.");
                    unsafe { evaluate(#arguments, Some(threads)) }
                }
            }
        }
    };
    quote! {
        /// Threads that share a layer never are more than this.
        pub const THREADS: usize = #most;
        /// Threads that share the work of a layer.
        pub trait Threads {
            /// How many parts a large layer is cut into; as many as there are threads is best.
            fn count(&self) -> usize;
            /// Calls `work` any number of times, on any threads and at the same time, and returns when all of
            /// these calls have returned.
            ///
            /// Each call does one part after the other until none is left.
            /// What is left when this returns, the calling thread does.
            fn run(&self, work: &(dyn Fn() + Sync));
        }
        #entries
    }
}

/// What calls in parts are made with; nothing where there are none.
pub(super) fn parts(program: &Program, names: &[String], target: &Target) -> TokenStream {
    let made = program.calls.iter().enumerate();
    let made = made.filter(|(_, call)| program.kernels[call.kernel].in_parts());
    let cases: Vec<_> = made
        .map(|(i, made)| {
            let i = Literal::usize_unsuffixed(i);
            let call = call(made, &names[made.kernel], program, target, &quote!(run.));
            quote!(#i => #call,)
        })
        .collect();
    if cases.is_empty() {
        return TokenStream::new();
    }
    let (inputs, outputs) = describe(program);
    let fields = inputs.iter().map(|p| (p, quote!(*const)));
    let fields = fields.chain(outputs.iter().map(|p| (p, quote!(*mut))));
    let fields = fields.map(|(p, pointer)| {
        let (name, ty) = (format_ident!("{}", p.parameter), number(p.scalar));
        quote!(#name: #pointer #ty,)
    });
    let features = target.rust.features.join(",");
    let features = (!features.is_empty()).then(|| quote!(#[target_feature(enable = #features)]));
    quote! {
        /// Where the tensors of a run lie.
        ///
        /// Threads share it: no part of a call touches what another part of the same call writes, as was proven
        /// when the file was made.
        #[allow(dead_code)]
        struct Run {
            #(#fields)*
            memory: *mut u8,
        }
        unsafe impl Sync for Run {}
        /// One part of one call.
        #features
        unsafe fn run_part(run: &Run, call: usize, part: usize, parts: usize) {
            note!("SAFETY: each tensor lies within its port or the arena, as planned when the file was made.");
            unsafe {
                match call {
                    #(#cases)*
                    _ => {}
                }
            }
        }
        /// All parts of one call, each of which one thread does.
        unsafe fn share(run: &Run, call: usize, threads: Option<&dyn Threads>) {
            let parts = threads.map_or(1, |threads| threads.count().clamp(1, THREADS));
            let next = core::sync::atomic::AtomicUsize::new(0);
            let work = || loop {
                let part = next.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
                if part >= parts {
                    break;
                }
                note!("SAFETY: the counter gives each part once, and the caller names a call of the run.");
                unsafe { run_part(run, call, part, parts) }
            };
            if let (Some(threads), true) = (threads, parts > 1) {
                threads.run(&work);
            }
            work();
        }
    }
}

/// `ThreadPool`: threads of the standard library.
pub(super) fn pool() -> TokenStream {
    let (queue, worker) = (queue(), worker());
    quote! {
        /// Threads of the standard library that wait for work between the layers of any number of runs.
        ///
        /// They end when it is dropped.
        pub struct ThreadPool {
            queue: std::sync::Arc<Queue>,
            threads: Vec<std::thread::JoinHandle<()>>,
        }
        impl ThreadPool {
            /// So many threads, of which the one that runs a network is one.
            ///
            /// # Errors
            ///
            /// The system has no more threads.
            pub fn new(threads: usize) -> std::io::Result<ThreadPool> {
                let mut pool = ThreadPool {
                    queue: std::sync::Arc::default(),
                    threads: vec![],
                };
                for _ in 1..threads {
                    let queue = pool.queue.clone();
                    let thread = std::thread::Builder::new();
                    pool.threads.push(thread.spawn(move || wait_for_work(&queue))?);
                }
                Ok(pool)
            }
        }
        impl Drop for ThreadPool {
            fn drop(&mut self) {
                self.queue.lock().ended = true;
                self.queue.given.notify_all();
                for thread in self.threads.drain(..) {
                    let _ = thread.join();
                }
            }
        }
        impl Threads for ThreadPool {
            fn count(&self) -> usize {
                self.threads.len() + 1
            }
            fn run(&self, work: &(dyn Fn() + Sync)) {
                note!("SAFETY: `given` takes it back, and waits for those that use it, before it ends.");
                let work = unsafe {
                    core::mem::transmute::<&(dyn Fn() + Sync), &'static (dyn Fn() + Sync)>(work)
                };
                let given = self.queue.give(work);
                work();
                drop(given);
            }
        }
        #queue
        #worker
    }
}

fn queue() -> TokenStream {
    quote! {
        /// Where threads find work.
        #[derive(Default)]
        struct Queue {
            state: std::sync::Mutex<State>,
            /// The number of the last work, for threads that look before they sleep.
            last: core::sync::atomic::AtomicUsize,
            /// How many threads are at work.
            busy: core::sync::atomic::AtomicUsize,
            /// Told when there is work, or no more to come.
            given: std::sync::Condvar,
            /// Told when no thread is at work.
            left: std::sync::Condvar,
        }
        #[derive(Default)]
        struct State {
            work: Option<&'static (dyn Fn() + Sync)>,
            asleep: usize,
            ended: bool,
        }
        /// Turns for which a thread looks for a change before it sleeps, about half a millisecond: to wake
        /// takes longer than most layers.
        const LOOKS: usize = 20_000;
        impl Queue {
            fn lock(&self) -> std::sync::MutexGuard<'_, State> {
                self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
            }
            fn last(&self) -> usize {
                self.last.load(core::sync::atomic::Ordering::Acquire)
            }
            fn busy(&self) -> usize {
                self.busy.load(core::sync::atomic::Ordering::Acquire)
            }
            /// Hands work out until the result is dropped.
            fn give(&self, work: &'static (dyn Fn() + Sync)) -> Given<'_> {
                let mut state = self.lock();
                state.work = Some(work);
                self.last.fetch_add(1, core::sync::atomic::Ordering::Release);
                if state.asleep > 0 {
                    self.given.notify_all();
                }
                Given(self)
            }
        }
        /// Work that has been handed out; nobody has it when this is gone.
        struct Given<'a>(&'a Queue);
        impl Drop for Given<'_> {
            fn drop(&mut self) {
                self.0.lock().work = None;
                look(|| self.0.busy() == 0);
                let mut state = self.0.lock();
                while self.0.busy() > 0 {
                    state = self.0.left.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
            }
        }
        /// Waits a little for something to become true.
        fn look(mut is: impl FnMut() -> bool) {
            for _ in 0..LOOKS {
                if is() {
                    break;
                }
                core::hint::spin_loop();
            }
        }
    }
}

fn worker() -> TokenStream {
    quote! {
        /// A thread that is at work; also when the work panics, it is not when this is gone.
        struct Busy<'a>(&'a Queue);
        impl Drop for Busy<'_> {
            fn drop(&mut self) {
                let _state = self.0.lock();
                if self.0.busy.fetch_sub(1, core::sync::atomic::Ordering::Release) == 1 {
                    self.0.left.notify_all();
                }
            }
        }
        /// What a thread does until there is no more work to come.
        fn wait_for_work(queue: &Queue) {
            let mut done = 0;
            loop {
                look(|| queue.last() != done);
                let mut state = queue.lock();
                state.asleep += 1;
                while queue.last() == done && !state.ended {
                    state = queue.given.wait(state).unwrap_or_else(std::sync::PoisonError::into_inner);
                }
                state.asleep -= 1;
                if state.ended {
                    return;
                }
                done = queue.last();
                if let Some(work) = state.work {
                    queue.busy.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
                    let _busy = Busy(queue);
                    drop(state);
                    work();
                }
            }
        }
    }
}
