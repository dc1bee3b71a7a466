//! Kernels that several threads run together: which loops they share.
//!
//! The outermost loops are shared, or those a little further in where that cuts the work more evenly: a dense layer
//! has few rows but many channels. A kernel is left whole where it is too small to gain from a second thread, or
//! where [`prove::parts`] does not show that its turns are independent. Where turns share scratch memory, each part is given
//! its own, and a kernel of several steps, such as Winograd's, becomes a kernel for each step.

use crate::Result;
use crate::kernel::{Call, Expr, Kernel, Program, Slot, Stmt, accesses, simplified};
use crate::lower::memory::SLACK;
use crate::prove;
use crate::target::Target;

/// Operations below which a kernel is left whole: some 3 µs on a core of 3 GHz, and threads that wait for work begin
/// and end a part in one or two.
pub const WORTH: f64 = 20_000.0;

/// Bytes that a cache keeps together: parts do not share them.
const LINE: usize = 64;

/// How far inside the outermost loops shared ones may be.
const DEPTH: usize = 3;

/// By how much an inner loop must shorten the longest part: parts of the same rows touch the same cache lines.
const GAIN: f64 = 0.8;

/// Lets up to `threads` threads share each kernel of `worth` operations or more that they do not share yet, where its
/// parts are independent: they are not where a tensor lies over what is still read, as in programs for one thread.
pub fn share(program: &mut Program, target: &Target, threads: usize, worth: f64) {
    program.threads = threads;
    // Scratch memory of parts follows the arena of the calls as they are; all kernels have the same.
    let end = program.arena_bytes;
    let mut index = 0;
    while index < program.kernels.len() {
        let count = program.kernels.len();
        let whole = !program.kernels[index].in_parts();
        if whole && size(program, index, target) >= worth && !share_one(program, index, target, end)
        {
            share_steps(program, index, target, (worth, end));
        }
        index += 1 + program.kernels.len() - count;
    }
}

/// Operations of a kernel.
fn size(program: &Program, index: usize, target: &Target) -> f64 {
    let call = program.calls.iter().find(|call| call.kernel == index);
    let products =
        call.map_or(0, |call| call.macs) as f64 / (target.dot.lanes * target.dot.k) as f64;
    work(&program.kernels[index].body).max(products)
}

/// Shares a kernel in the best way whose parts are independent, if there is one; scratch memory of parts begins at
/// `end` of the arena.
fn share_one(program: &mut Program, index: usize, target: &Target, end: usize) -> bool {
    let whole = program.kernels[index].clone();
    let before = (program.calls.clone(), program.arena_bytes);
    let scratch = scratch(&whole, target);
    for way in ways(&whole, program.threads) {
        for own in [&[][..], &scratch] {
            program.kernels[index] = way.clone();
            let given = own.is_empty() || give_own(program, index, own, (target, end)).is_ok();
            let calls = program.calls.iter().enumerate();
            let mut calls = calls.filter(|(_, call)| call.kernel == index);
            if given && calls.all(|(i, _)| prove::parts(program, i, target).is_ok()) {
                return true;
            }
            (program.calls, program.arena_bytes) = before.clone();
        }
    }
    program.kernels[index] = whole;
    false
}

/// Buffers that a kernel writes and reads.
fn scratch(kernel: &Kernel, target: &Target) -> Vec<String> {
    let mut touched = vec![];
    touches(&kernel.body, target, &mut touched);
    let mutable = kernel.buffers.iter().filter(|b| b.mutable);
    let both = mutable.filter(|b| {
        let of = |writes| {
            touched
                .iter()
                .any(|(name, w)| *name == b.name && *w == writes)
        };
        of(true) && of(false)
    });
    both.map(|b| b.name.clone()).collect()
}

/// Gives each part its own memory in place of some buffers: the arena grows by that.
fn give_own(
    program: &mut Program,
    index: usize,
    own: &[String],
    (target, end): (&Target, usize),
) -> Result<()> {
    let mut first = end;
    for name in own {
        let kernel = &program.kernels[index];
        let buffer = kernel.buffers.iter().position(|b| b.name == *name);
        let buffer = buffer.expect("it is one of the kernel's");
        let bytes = kernel.buffers[buffer].elem.bytes();
        let extent = prove::extent(program, kernel, name, target)? as usize;
        let stride = (extent * bytes).next_multiple_of(LINE) / bytes;
        let place = Expr::Part * stride as i64;
        let body = moved(&kernel.body, name, &place);
        program.kernels[index].body = body;
        for call in program.calls.iter_mut().filter(|call| call.kernel == index) {
            call.args[buffer] = Slot::Arena(first);
        }
        first += program.threads * stride * bytes;
    }
    let bytes = (first + SLACK).next_multiple_of(program.align);
    program.arena_bytes = program.arena_bytes.max(bytes);
    Ok(())
}

/// Shares a kernel as several, one after the other, each of which is shared or small; if there is no such way, it
/// stays as it is.
fn share_steps(program: &mut Program, index: usize, target: &Target, (worth, end): (f64, usize)) {
    let steps = steps(&program.kernels[index]);
    if steps.len() < 2 {
        return;
    }
    let before = (
        program.kernels.clone(),
        program.calls.clone(),
        program.arena_bytes,
    );
    let whole = program.kernels[index].clone();
    let count = steps.len();
    program.kernels.splice(index..=index, steps);
    let calls = std::mem::take(&mut program.calls);
    for call in calls {
        match call.kernel {
            kernel if kernel < index => program.calls.push(call),
            kernel if kernel > index => program.calls.push(Call {
                kernel: kernel + count - 1,
                ..call
            }),
            _ => program.calls.extend((0..count).map(|step| {
                let kernel = index + step;
                let buffers = whole.buffers.iter().zip(&call.args);
                let used = buffers.filter(|(b, _)| program.kernels[kernel].buffers.contains(b));
                Call {
                    layer: call.layer.clone(),
                    kernel,
                    args: used.map(|(_, slot)| *slot).collect(),
                    overlaps: call.overlaps,
                    macs: if step + 1 == count { call.macs } else { 0 },
                }
            })),
        }
    }
    let mut shared = false;
    for step in index..index + count {
        let large = work(&program.kernels[step].body) >= worth;
        if large && !share_one(program, step, target, end) {
            (program.kernels, program.calls, program.arena_bytes) = before;
            return;
        }
        shared |= large;
    }
    if !shared {
        (program.kernels, program.calls, program.arena_bytes) = before;
    }
}

/// The outermost loops of a kernel as kernels of their own, if it has nothing else.
fn steps(kernel: &Kernel) -> Vec<Kernel> {
    let mut steps: Vec<Vec<Stmt>> = vec![vec![]];
    for stmt in simplified(kernel).body {
        let last = steps.last_mut().expect("there is one");
        match &stmt {
            Stmt::Note(_) => last.push(stmt),
            Stmt::For { .. } => {
                last.push(stmt);
                steps.push(vec![]);
            }
            _ => return vec![],
        }
    }
    steps.retain(|body| !body.is_empty());
    let count = steps.len();
    let bodies = steps.into_iter().enumerate();
    let kernels = bodies.map(|(i, body)| {
        let mut named = vec![];
        names(&body, &mut named);
        let buffers = kernel.buffers.iter().filter(|b| named.contains(&b.name));
        let constants = kernel.constants.iter().filter(|c| named.contains(c));
        Kernel {
            name: format!("{}_{}", kernel.name, i + 1),
            comment: [
                kernel.comment.clone(),
                vec![format!("Step {} of {count}.", i + 1)],
            ]
            .concat(),
            buffers: buffers.cloned().collect(),
            constants: constants.cloned().collect(),
            body,
        }
    });
    kernels.collect()
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

/// The buffers that a body touches, and whether it writes them.
fn touches(body: &[Stmt], target: &Target, found: &mut Vec<(String, bool)>) {
    each_expr(body, &mut |expr| {
        if let Expr::Op(name, args) = expr {
            for access in accesses(name, args, target).unwrap_or_default() {
                if let Expr::At(buffer, _) = access.address {
                    found.push((buffer.clone(), access.writes));
                }
            }
        }
    });
}

/// The buffers and constants that a body names.
fn names(body: &[Stmt], found: &mut Vec<String>) {
    each_expr(body, &mut |expr| {
        if let Expr::At(name, _) = expr {
            found.push(name.clone());
        }
    });
}

/// Visits every expression and all within.
fn each_expr(body: &[Stmt], visit: &mut impl FnMut(&Expr)) {
    fn within(expr: &Expr, visit: &mut impl FnMut(&Expr)) {
        visit(expr);
        match expr {
            Expr::Int(_) | Expr::Var(_) | Expr::Share { .. } | Expr::Part => {}
            Expr::Add(a, b) => {
                within(a, visit);
                within(b, visit);
            }
            Expr::Mul(a, _) | Expr::At(_, a) => within(a, visit),
            Expr::Op(_, args) => args.iter().for_each(|a| within(a, visit)),
        }
    }
    for stmt in body {
        match stmt {
            Stmt::Let { value, .. } | Stmt::Set { value, .. } | Stmt::Do(value) => {
                within(value, visit)
            }
            Stmt::For {
                start, end, body, ..
            } => {
                within(start, visit);
                within(end, visit);
                each_expr(body, visit);
            }
            Stmt::Note(_) => {}
        }
    }
}

/// The body with a buffer's addresses further on.
fn moved(body: &[Stmt], buffer: &str, place: &Expr) -> Vec<Stmt> {
    let further = |expr: &Expr| further(expr, buffer, place);
    let stmts = body.iter().map(|stmt| {
        let mut stmt = stmt.clone();
        match &mut stmt {
            Stmt::Let { value, .. } | Stmt::Set { value, .. } | Stmt::Do(value) => {
                *value = further(value)
            }
            Stmt::For {
                start, end, body, ..
            } => {
                (*start, *end) = (further(start), further(end));
                *body = moved(body, buffer, place);
            }
            Stmt::Note(_) => {}
        }
        stmt
    });
    stmts.collect()
}

fn further(expr: &Expr, buffer: &str, place: &Expr) -> Expr {
    let again = |e: &Expr| further(e, buffer, place);
    match expr {
        Expr::Int(_) | Expr::Var(_) | Expr::Share { .. } | Expr::Part => expr.clone(),
        Expr::Add(a, b) => again(a) + again(b),
        Expr::Mul(a, b) => again(a) * *b,
        Expr::At(name, index) if name == buffer => {
            Expr::At(name.clone(), Box::new(again(index) + place.clone()))
        }
        Expr::At(name, index) => Expr::At(name.clone(), Box::new(again(index))),
        Expr::Op(name, args) => Expr::Op(name, args.iter().map(again).collect()),
    }
}
