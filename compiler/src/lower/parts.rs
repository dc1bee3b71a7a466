//! Kernels that several threads run together: which loops they share.
//!
//! The outermost loops are shared, or those a little further in where that cuts the work more evenly: a dense layer
//! has few rows but many channels. A kernel is left whole where it is too small to gain from a second thread, or
//! where [`prove::parts`] does not show that its turns are independent.

use crate::kernel::{Expr, Kernel, Program, Stmt};
use crate::prove;
use crate::target::Target;

/// Operations below which a kernel is left whole: some 3 µs on a core of 3 GHz, and threads that wait for work begin
/// and end a part in one or two.
pub const WORTH: f64 = 20_000.0;

/// How far inside the outermost loops shared ones may be.
const DEPTH: usize = 3;

/// By how much an inner loop must shorten the longest part: parts of the same rows touch the same cache lines.
const GAIN: f64 = 0.8;

/// Lets up to `threads` threads share each kernel of `worth` operations or more, where its parts are independent.
pub fn share(program: &mut Program, target: &Target, threads: usize, worth: f64) {
    program.threads = threads;
    for index in 0..program.kernels.len() {
        let calls = program.calls.iter().enumerate();
        let calls = calls.filter(|(_, call)| call.kernel == index);
        let calls: Vec<usize> = calls.map(|(i, _)| i).collect();
        let macs = calls.first().map_or(0, |call| program.calls[*call].macs);
        let whole = program.kernels[index].clone();
        let products = macs as f64 / (target.dot.lanes * target.dot.k) as f64;
        if work(&whole.body).max(products) < worth {
            continue;
        }
        for shared in ways(&whole, threads) {
            program.kernels[index] = shared;
            let independent = |call: &usize| prove::parts(program, *call, target).is_ok();
            if calls.iter().all(independent) {
                break;
            }
            program.kernels[index] = whole.clone();
        }
    }
}

/// The ways to share a kernel, the best first.
fn ways(kernel: &Kernel, threads: usize) -> Vec<Kernel> {
    let mut ways: Vec<(f64, Kernel)> = vec![];
    for depth in 0..DEPTH {
        let (body, longest) = shared(&kernel.body, depth, threads);
        if body == kernel.body || ways.iter().any(|(_, way)| way.body == body) {
            continue;
        }
        let way = Kernel {
            body,
            ..kernel.clone()
        };
        let place = ways.iter().position(|(other, _)| longest < GAIN * other);
        ways.insert(place.unwrap_or(ways.len()), (longest, way));
    }
    ways.into_iter().map(|(_, way)| way).collect()
}

/// The body with loops shared `depth` loops further in than the outermost, where they are there and nothing but
/// loops writes around them; and the work of the longest part.
fn shared(body: &[Stmt], depth: usize, threads: usize) -> (Vec<Stmt>, f64) {
    let mut longest = 0.0;
    let mut out = vec![];
    for stmt in body {
        let (
            Stmt::For {
                var,
                start,
                end,
                step,
                body,
            },
            Some(turns),
        ) = (stmt, turns(stmt))
        else {
            longest += work(std::slice::from_ref(stmt));
            out.push(stmt.clone());
            continue;
        };
        let (start, end, inner) = if depth > 0 && opens(body) {
            let (inner, part) = shared(body, depth - 1, threads);
            longest += turns as f64 * part;
            (start.clone(), end.clone(), inner)
        } else {
            let most = (turns as usize).div_ceil(threads);
            longest += most as f64 * work(body);
            let share = |next| Expr::Share { count: turns, next } * *step + start.clone();
            (share(false), share(true), body.clone())
        };
        out.push(Stmt::For {
            var: var.clone(),
            start,
            end,
            step: *step,
            body: inner,
        });
    }
    (out, longest)
}

/// Whether loops inside a body do all that it does.
fn opens(body: &[Stmt]) -> bool {
    body.iter().all(|stmt| match stmt {
        Stmt::For { .. } => turns(stmt).is_some(),
        Stmt::Let { mutable, .. } => !mutable,
        Stmt::Note(_) => true,
        Stmt::Set { .. } | Stmt::Do(_) => false,
    }) && body.iter().any(|stmt| matches!(stmt, Stmt::For { .. }))
}

/// The turns of a loop between numbers.
fn turns(stmt: &Stmt) -> Option<i64> {
    match stmt {
        Stmt::For {
            start: Expr::Int(start),
            end: Expr::Int(end),
            step,
            ..
        } => Some((end - start).max(0).div_euclid(*step) + i64::from((end - start) % step > 0)),
        _ => None,
    }
}

/// Operations of a body; a loop whose turns a table tells counts once.
fn work(body: &[Stmt]) -> f64 {
    let each = body.iter().map(|stmt| match stmt {
        Stmt::Let { value, .. } | Stmt::Set { value, .. } | Stmt::Do(value) => operations(value),
        Stmt::For { body, .. } => turns(stmt).unwrap_or(1) as f64 * work(body),
        Stmt::Note(_) => 0.0,
    });
    each.sum()
}

fn operations(expr: &Expr) -> f64 {
    match expr {
        Expr::Op(_, args) => 1.0 + args.iter().map(operations).sum::<f64>(),
        _ => 0.0,
    }
}
