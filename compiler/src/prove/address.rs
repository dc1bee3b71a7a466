//! Indices as functions of the counters around them.

use crate::kernel::{Expr, Kernel, Program, Scalar};

/// A loop around an address, or a value defined before it.
#[derive(Clone, Copy)]
pub(super) enum Scope<'a> {
    /// A loop, and whether parts share its turns.
    For {
        var: &'a str,
        start: &'a Expr,
        end: &'a Expr,
        step: i64,
        /// Turns, where parts share them.
        shared: Option<i64>,
    },
    /// A value that stays as it is defined; nothing where some `Set` changes it.
    Let {
        name: &'a str,
        value: Option<&'a Expr>,
    },
}

/// An index over numbered counters, and the loops that count them, outermost first.
#[derive(Debug)]
pub(super) struct Resolved {
    pub(super) term: Term,
    pub(super) loops: Vec<Loop>,
}

/// Counter `n` of the loops before this one is slot `n`.
#[derive(Debug)]
pub(super) struct Loop {
    pub(super) start: Term,
    pub(super) end: Term,
    pub(super) step: i64,
    /// Whether the index, or a loop that counts, depends on it.
    pub(super) counts: bool,
    /// Whether parts share its turns.
    pub(super) shared: bool,
}

#[derive(Debug)]
pub(super) enum Term {
    Int(i64),
    Counter(usize),
    Add(Box<Term>, Box<Term>),
    Mul(Box<Term>, i64),
    /// A number of a table, and the least and the greatest of these.
    Table(Vec<i32>, Box<Term>, (i64, i64)),
}

/// An index as a function of the loops of its scopes; nothing where it depends on what is not known.
pub(super) fn resolve(
    index: &Expr,
    scopes: &[Scope],
    kernel: &Kernel,
    program: &Program,
) -> Option<Resolved> {
    let cx = Context {
        scopes,
        kernel,
        program,
    };
    let term = cx.term(index, scopes.len())?;
    let mut loops = vec![];
    for (depth, scope) in scopes.iter().enumerate() {
        let Scope::For {
            start,
            end,
            step,
            shared,
            ..
        } = scope
        else {
            continue;
        };
        // The turns of all parts together: a shared loop begins with its first share at `start + 0`.
        let (start, end) = match shared {
            Some(turns) => {
                let Term::Int(first) = cx.first(start)? else {
                    return None;
                };
                (Term::Int(first), Term::Int(first + turns * step))
            }
            None => (cx.term(start, depth)?, cx.term(end, depth)?),
        };
        loops.push(Loop {
            start,
            end,
            step: *step,
            counts: false,
            shared: shared.is_some(),
        });
    }
    term.mark(&mut loops);
    for i in (0..loops.len()).rev() {
        if loops[i].counts || loops[i].shared {
            let (outer, rest) = loops.split_at_mut(i);
            rest[0].start.mark(outer);
            rest[0].end.mark(outer);
        }
    }
    Some(Resolved { term, loops })
}

struct Context<'a> {
    scopes: &'a [Scope<'a>],
    kernel: &'a Kernel,
    program: &'a Program,
}

impl Context<'_> {
    /// An expression that sees the first `depth` scopes.
    fn term(&self, expr: &Expr, depth: usize) -> Option<Term> {
        Some(match expr {
            Expr::Int(value) => Term::Int(*value),
            Expr::Var(name) => return self.var(name, depth),
            Expr::Add(a, b) => Term::Add(
                Box::new(self.term(a, depth)?),
                Box::new(self.term(b, depth)?),
            ),
            Expr::Mul(a, b) => Term::Mul(Box::new(self.term(a, depth)?), *b),
            Expr::Op("index", args) => match &args[0] {
                Expr::Op("read_i32", args) => self.table(&args[0], depth)?,
                other => self.term(other, depth)?,
            },
            Expr::Op("read_i32", args) => self.table(&args[0], depth)?,
            Expr::Op(..) | Expr::At(..) | Expr::Share { .. } | Expr::Part => return None,
        })
    }

    fn var(&self, name: &str, depth: usize) -> Option<Term> {
        for (i, scope) in self.scopes[..depth].iter().enumerate().rev() {
            match scope {
                Scope::For { var, .. } if *var == name => {
                    let loops = self.scopes[..i].iter();
                    let before = loops.filter(|s| matches!(s, Scope::For { .. })).count();
                    return Some(Term::Counter(before));
                }
                Scope::Let { name: known, value } if *known == name => {
                    return self.term((*value)?, i);
                }
                _ => {}
            }
        }
        None
    }

    /// A number of a constant of i32.
    fn table(&self, address: &Expr, depth: usize) -> Option<Term> {
        let Expr::At(name, index) = address else {
            return None;
        };
        if self.kernel.buffers.iter().any(|b| b.name == *name) {
            return None;
        }
        let constant = self.program.constants.iter().find(|c| c.name == *name)?;
        if constant.elem != Scalar::I32 {
            return None;
        }
        let (words, _) = constant.bytes.as_chunks::<4>();
        let table: Vec<i32> = words.iter().map(|w| i32::from_le_bytes(*w)).collect();
        let bounds = (*table.iter().min()?, *table.iter().max()?);
        let index = Box::new(self.term(index, depth)?);
        Some(Term::Table(
            table,
            index,
            (bounds.0.into(), bounds.1.into()),
        ))
    }

    /// Where a shared loop starts for the first part.
    fn first(&self, start: &Expr) -> Option<Term> {
        Some(Term::Int(match start {
            Expr::Share { next: false, .. } => 0,
            Expr::Int(value) => *value,
            Expr::Mul(a, b) => self.first(a)?.constant()? * b,
            Expr::Add(a, b) => self.first(a)?.constant()? + self.first(b)?.constant()?,
            _ => return None,
        }))
    }
}

impl Term {
    fn constant(&self) -> Option<i64> {
        match self {
            Term::Int(value) => Some(*value),
            _ => None,
        }
    }

    fn mark(&self, loops: &mut [Loop]) {
        match self {
            Term::Int(_) => {}
            Term::Counter(i) => loops[*i].counts = true,
            Term::Add(a, b) => {
                a.mark(loops);
                b.mark(loops);
            }
            Term::Mul(a, _) | Term::Table(_, a, _) => a.mark(loops),
        }
    }

    pub(super) fn eval(&self, counters: &[i64]) -> i64 {
        match self {
            Term::Int(value) => *value,
            Term::Counter(i) => counters[*i],
            Term::Add(a, b) => a.eval(counters) + b.eval(counters),
            Term::Mul(a, b) => a.eval(counters) * b,
            Term::Table(table, index, _) => table[index.eval(counters) as usize].into(),
        }
    }

    /// The least and the greatest value while the first loops are in the turns of these counters.
    fn interval(&self, loops: &[Loop], counters: &[i64]) -> (i64, i64) {
        match self {
            Term::Int(value) => (*value, *value),
            Term::Counter(i) if *i < counters.len() => (counters[*i], counters[*i]),
            Term::Counter(i) => {
                let (low, high) = (&loops[*i].start, &loops[*i].end);
                let low = low.interval(loops, counters).0;
                (low, (high.interval(loops, counters).1 - 1).max(low))
            }
            Term::Add(a, b) => {
                let (a, b) = (a.interval(loops, counters), b.interval(loops, counters));
                (a.0 + b.0, a.1 + b.1)
            }
            Term::Mul(a, b) => {
                let (low, high) = a.interval(loops, counters);
                ((low * b).min(high * b), (low * b).max(high * b))
            }
            Term::Table(_, _, bounds) => *bounds,
        }
    }
}

impl Loop {
    /// Whether its bounds are numbers with turns between them.
    fn turns(&self) -> bool {
        match (self.start.constant(), self.end.constant()) {
            (Some(start), Some(end)) => start < end,
            _ => false,
        }
    }
}

impl Resolved {
    /// Whether the index is the same in every turn of the first `outer` loops, and the others have turns.
    pub(super) fn repeats(&self, outer: usize) -> bool {
        self.loops[..outer].iter().all(|l| !l.counts) && self.loops[outer..].iter().all(Loop::turns)
    }

    /// The least and the greatest index, or a wider interval.
    pub(super) fn interval(&self) -> (i64, i64) {
        self.term.interval(&self.loops, &[])
    }

    /// Visits every turn of the first `depth` loops together: their counters, and the least and the greatest index
    /// in this turn, or a wider interval.
    pub(super) fn each_interval(&self, depth: usize, mut visit: impl FnMut(&[i64], (i64, i64))) {
        let mut counters = vec![];
        self.turns_of(depth.min(self.loops.len()), &mut counters, &mut visit);
    }

    fn turns_of(
        &self,
        depth: usize,
        counters: &mut Vec<i64>,
        visit: &mut impl FnMut(&[i64], (i64, i64)),
    ) {
        if counters.len() == depth {
            return visit(counters, self.term.interval(&self.loops, counters));
        }
        let outer = &self.loops[counters.len()];
        let (mut at, end) = (outer.start.eval(counters), outer.end.eval(counters));
        while at < end {
            counters.push(at);
            self.turns_of(depth, counters, visit);
            counters.pop();
            at += outer.step;
        }
    }
}
