//! Every place of a kernel that touches memory, with the loops around it.

use super::address::{Loop, Resolved, Scope, resolve};
use crate::kernel::{Expr, Kernel, Program, Stmt, accesses};
use crate::target::Target;
use crate::{Result, bail};

/// A place that touches a buffer or constant.
pub(super) struct Site {
    pub(super) buffer: String,
    /// The first element touched, where it is known.
    pub(super) index: Option<Resolved>,
    /// Bytes from there on.
    pub(super) bytes: usize,
    pub(super) writes: bool,
    /// The number of the shared loop around it.
    pub(super) shared: Option<usize>,
    /// Elements from one part's memory to the next's, where each has its own.
    pub(super) stride: i64,
    /// The number of its statement, in the order of the text.
    pub(super) statement: usize,
    /// The numbers of the loops around it.
    pub(super) loops: Vec<usize>,
}

impl Site {
    /// Asks whether something holds of every turn and index: the shared loop's number with its counter, and the
    /// first element touched.
    pub(super) fn each(
        &self,
        index: &Resolved,
        mut holds: impl FnMut((usize, i64), i64) -> bool,
    ) -> bool {
        let mut counters = vec![0; index.loops.len()];
        let number = self.shared.unwrap_or(0);
        let mut visit = |counters: &[i64]| {
            let shared = index.loops.iter().position(|l| l.shared);
            let turn = shared.map_or(0, |i| counters[i]);
            holds((number, turn), index.term.eval(counters))
        };
        walk(&index.loops, 0, &mut counters, &mut visit)
    }
}

/// Visits every combination of the counters that count, while what is visited holds.
fn walk(
    loops: &[Loop],
    depth: usize,
    counters: &mut [i64],
    visit: &mut impl FnMut(&[i64]) -> bool,
) -> bool {
    let Some(outer) = loops.get(depth) else {
        return visit(counters);
    };
    if !outer.counts && !outer.shared {
        return walk(loops, depth + 1, counters, visit);
    }
    let (mut at, end) = (outer.start.eval(counters), outer.end.eval(counters));
    while at < end {
        counters[depth] = at;
        if !walk(loops, depth + 1, counters, visit) {
            return false;
        }
        at += outer.step;
    }
    true
}

/// All of a kernel's, if its shared loops are what they should be.
pub(super) fn sites(kernel: &Kernel, program: &Program, target: &Target) -> Result<Vec<Site>> {
    let mut walk = Walk {
        kernel,
        program,
        target,
        scopes: vec![],
        shared: None,
        loops: 0,
        statements: 0,
        around: vec![],
        own: 0,
        sites: vec![],
    };
    walk.block(&kernel.body)?;
    Ok(walk.sites)
}

struct Walk<'a> {
    kernel: &'a Kernel,
    program: &'a Program,
    target: &'a Target,
    scopes: Vec<Scope<'a>>,
    /// The number of the shared loop around the statement.
    shared: Option<usize>,
    /// How many shared loops came so far.
    loops: usize,
    /// How many statements came so far.
    statements: usize,
    /// The first statements of the loops around the statement, which number them.
    around: Vec<usize>,
    /// Scopes around that loop.
    own: usize,
    sites: Vec<Site>,
}

impl<'a> Walk<'a> {
    fn block(&mut self, body: &'a [Stmt]) -> Result<()> {
        let outside = self.scopes.len();
        for stmt in body {
            self.statements += 1;
            match stmt {
                Stmt::Let {
                    name,
                    mutable,
                    value,
                    ..
                } => {
                    self.expr(value)?;
                    let value = (!mutable).then_some(value);
                    self.scopes.push(Scope::Let { name, value });
                }
                Stmt::Set { name, value } => {
                    self.expr(value)?;
                    if self.shared.is_some() && !self.is_own(name) {
                        bail!("`{name}` goes from one turn to the next");
                    }
                }
                Stmt::Do(value) => self.expr(value)?,
                Stmt::For { .. } => self.counted(stmt)?,
                Stmt::Note(_) => {}
            }
        }
        self.scopes.truncate(outside);
        Ok(())
    }

    fn counted(&mut self, stmt: &'a Stmt) -> Result<()> {
        let Stmt::For {
            var,
            start,
            end,
            step,
            body,
        } = stmt
        else {
            return Ok(());
        };
        let shared = turns(start, end, *step)?;
        if shared.is_some() && self.shared.is_some() {
            bail!("a shared loop stands in another");
        }
        self.expr(start)?;
        self.expr(end)?;
        let before = self.shared;
        if shared.is_some() {
            self.shared = Some(self.loops);
            self.loops += 1;
            self.own = self.scopes.len();
        }
        self.scopes.push(Scope::For {
            var,
            start,
            end,
            step: *step,
            shared,
        });
        self.around.push(self.statements);
        self.block(body)?;
        self.around.pop();
        self.scopes.pop();
        self.shared = before;
        Ok(())
    }

    /// Whether a value was defined in the shared loop around the statement.
    fn is_own(&self, name: &str) -> bool {
        let defines =
            |scope: &Scope| matches!(scope, Scope::Let { name: known, .. } if *known == name);
        let defined = self.scopes.iter().rposition(defines);
        defined.is_some_and(|at| at >= self.own)
    }

    fn expr(&mut self, expr: &'a Expr) -> Result<()> {
        match expr {
            Expr::Int(_) | Expr::Var(_) | Expr::Share { .. } | Expr::Part => Ok(()),
            Expr::Add(a, b) => {
                self.expr(a)?;
                self.expr(b)
            }
            Expr::Mul(a, _) | Expr::At(_, a) => self.expr(a),
            Expr::Op(name, args) => {
                let Some(touched) = accesses(name, args, self.target) else {
                    bail!("it is not known what `{name}` touches");
                };
                for access in touched {
                    let Expr::At(buffer, index) = access.address else {
                        continue;
                    };
                    let Some((index, stride)) = without_part(index) else {
                        bail!("an address of `{buffer}` depends on the part in another way");
                    };
                    let index = resolve(&index, &self.scopes, self.kernel, self.program);
                    self.sites.push(Site {
                        buffer: buffer.clone(),
                        index,
                        bytes: access.bytes,
                        writes: access.writes,
                        shared: self.shared,
                        stride,
                        statement: self.statements,
                        loops: self.around.clone(),
                    });
                }
                args.iter().try_for_each(|a| self.expr(a))
            }
        }
    }
}

/// An index without a multiple of the part, and this multiple.
fn without_part(index: &Expr) -> Option<(Expr, i64)> {
    Some(match index {
        Expr::Part => (Expr::Int(0), 1),
        Expr::Add(a, b) => {
            let ((a, m), (b, n)) = (without_part(a)?, without_part(b)?);
            (a + b, m + n)
        }
        Expr::Mul(a, b) => {
            let (a, n) = without_part(a)?;
            (a * *b, n * b)
        }
        other if other.shares() => return None,
        other => (other.clone(), 0),
    })
}

/// The turns of a loop that parts share: from `first + share · step` up to the next part's `first + share · step`.
fn turns(start: &Expr, end: &Expr, step: i64) -> Result<Option<i64>> {
    if !start.shares() && !end.shares() {
        return Ok(None);
    }
    let count = count(start);
    let first = |next| Expr::Share { count, next } * step;
    let offset = match start {
        Expr::Add(_, offset) => offset.as_ref().clone(),
        _ => Expr::Int(0),
    };
    let constant = matches!(offset, Expr::Int(_));
    let is = |bound: &Expr, next| *bound == first(next) + offset.clone();
    if !constant || !is(start, false) || !is(end, true) {
        bail!("a loop is shared in another way than turn by turn");
    }
    Ok(Some(count))
}

fn count(expr: &Expr) -> i64 {
    match expr {
        Expr::Share { count, .. } => *count,
        Expr::Add(a, _) | Expr::Mul(a, _) => count(a),
        _ => 0,
    }
}
