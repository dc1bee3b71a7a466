//! Results in floating point whose every element combines elements of operands: sums of products, pools and
//! reductions; without an axis to combine, functions of elements.
//!
//! ```text
//! acc = start;  for combined axes, in order: acc = combine(acc, inside operands);  y = finish(acc, others)
//! ```
//!
//! Elements are combined one after the other in the order of the axes, each step one IEEE operation, so that
//! every machine computes the same bits: vectors lie across the result's last axis, and a tile of pixels and
//! vectors keeps independent sums in registers.

use crate::kernel::{Buffer, Expr, Kernel, Scalar, Stmt, at, int, op, var};
use crate::kernels::copy::real;
use crate::kernels::elements::elements;
use crate::kernels::elementwise::{add, define, define_mutable, set};
use crate::kernels::tile::{Channels, Segment, cut, split};
use crate::target::Target;

/// One axis of the result, or one along which elements are combined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Axis {
    /// How many indices.
    pub(crate) extent: usize,
    /// How each operand and, at an axis of the result, the result follow it.
    pub(crate) steps: Vec<Step>,
}

/// How a buffer follows an axis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// So many elements from one index to the next.
    By(usize),
    /// A constant of i32 says where each index lies, in elements.
    Table(String),
}

/// What is read.
#[derive(Clone, Debug)]
pub(crate) struct Operand {
    /// The buffer or constant; the result's name where it is overwritten.
    pub(crate) name: String,
    /// Whether it is a constant of the program, which has a vector more than its elements.
    pub(crate) constant: bool,
    /// Its elements: reals, or integers. Where `bytes`, a constant of bytes, which compilers read faster than
    /// lists of numbers, holds reals, i16 or IEEE halves (u16).
    pub(crate) scalar: Scalar,
    pub(crate) bytes: bool,
    /// Whether it is read for each combined element, not once for each result.
    pub(crate) inside: bool,
}

impl Operand {
    /// Whether its elements are IEEE halves.
    fn halves(&self) -> bool {
        self.bytes && self.scalar == Scalar::U16
    }
}

/// What is written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Reals, or integers to which the result is rounded.
    pub(crate) scalar: Scalar,
    /// Added to what is rounded to 8 or 16 bits.
    pub(crate) zero_point: i32,
}

/// `acc` and the values of inside operands.
pub(crate) type Combine<'a> = &'a dyn Fn(&mut Steps, Expr, &[Expr]) -> Expr;

/// What was combined, unless nothing is, and the values of the other operands.
pub(crate) type Finish<'a> = &'a dyn Fn(&mut Steps, Option<Expr>, &[Expr]) -> Expr;

/// A kernel of this family. Buffers: the operands that are no constants and not overwritten, then `y`.
pub(crate) struct Fold<'a> {
    pub(crate) axes: Vec<Axis>,
    pub(crate) combined: Vec<Axis>,
    pub(crate) operands: Vec<Operand>,
    pub(crate) output: Output,
    /// Where `acc` starts: the bits of an f32.
    pub(crate) start: u32,
    pub(crate) combine: Combine<'a>,
    pub(crate) finish: Finish<'a>,
    pub(crate) target: &'a Target,
}

/// Rows and vectors of a tile of sums over so many of them.
pub(crate) fn tile(target: &Target, rows: usize, vectors: usize) -> (usize, usize) {
    let sums = target.reals.rows * target.reals.cols;
    let cols = (sums / rows.clamp(1, target.reals.rows))
        .min(vectors)
        .max(1);
    ((sums / cols).min(rows).max(1), cols)
}

/// The name of the result's buffer.
pub(crate) const RESULT: &str = "y";

/// Statements under construction, with names that are used once.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) stmts: Vec<Stmt>,
    names: usize,
}

impl Steps {
    /// Names a value, so that it is computed once.
    pub(crate) fn keep(&mut self, prefix: &str, ty: &'static str, value: Expr) -> Expr {
        if let Expr::Var(_) = value {
            return value;
        }
        let name = format!("{prefix}{}", self.names);
        self.names += 1;
        self.stmts.push(define(&name, ty, value));
        var(name)
    }

    /// The statements of a body, which `build` adds.
    fn block(&mut self, build: impl FnOnce(&mut Steps)) -> Vec<Stmt> {
        let outer = std::mem::take(&mut self.stmts);
        build(self);
        std::mem::replace(&mut self.stmts, outer)
    }
}

/// A tile: so many indices of the row axis, and vectors of the last.
#[derive(Clone, Copy)]
struct Tile {
    rows: usize,
    cols: usize,
    /// Elements of the last axis that exist.
    stored: usize,
}

impl Fold<'_> {
    /// The kernel.
    pub(crate) fn kernel(&self, name: &str) -> Kernel {
        let mut buffers: Vec<Buffer> = vec![];
        let mut constants: Vec<String> = vec![];
        for operand in &self.operands {
            if operand.constant {
                constants.push(operand.name.clone());
            } else if operand.name != RESULT && buffers.iter().all(|b| b.name != operand.name) {
                buffers.push(Buffer {
                    name: operand.name.clone(),
                    elem: operand.scalar,
                    mutable: false,
                });
            }
        }
        let steps = self
            .axes
            .iter()
            .chain(&self.combined)
            .flat_map(|a| &a.steps);
        constants.extend(steps.filter_map(|step| match step {
            Step::Table(table) => Some(table.clone()),
            Step::By(_) => None,
        }));
        constants.sort();
        constants.dedup();
        buffers.push(Buffer {
            name: RESULT.to_string(),
            elem: self.output.scalar,
            mutable: true,
        });
        Kernel {
            name: name.to_string(),
            comment: vec![],
            buffers,
            constants,
            body: self.body(),
        }
    }

    fn body(&self) -> Vec<Stmt> {
        let mut axes = merged(&self.axes);
        let mut combined = merged(&self.combined);
        if combined.is_empty() {
            // A single element is combined too.
            combined.extend(self.combined.first().cloned());
        }
        let vector = axes.pop_if(|axis| self.is_vector(axis));
        let vector = vector.unwrap_or_else(|| Axis {
            extent: 1,
            steps: vec![Step::By(1); self.operands.len() + 1],
        });
        let tiled = !combined.is_empty();
        let row = axes.pop_if(|axis| tiled && axis.steps.iter().all(|s| matches!(s, Step::By(_))));
        let row = row.unwrap_or_else(|| Axis {
            extent: 1,
            steps: vec![Step::By(0); self.operands.len() + 1],
        });
        let nest = Nest {
            fold: self,
            axes,
            row,
            vector,
            combined,
        };
        nest.body()
    }

    /// Whether the elements along an axis lie beside each other, or are one.
    fn is_vector(&self, axis: &Axis) -> bool {
        let (result, operands) = axis.steps.split_last().expect("a result");
        let beside = |step: &Step| matches!(step, Step::By(0 | 1));
        let each = operands.iter().zip(&self.operands);
        // Halves have no row that repeats one of them.
        let half = |(step, operand): (&Step, &Operand)| operand.halves() && *step == Step::By(0);
        *result == Step::By(1) && operands.iter().all(beside) && !each.clone().any(half)
    }
}

/// Axes of extent 1 left out, and neighbours that every buffer follows as one joined.
fn merged(axes: &[Axis]) -> Vec<Axis> {
    let mut merged: Vec<Axis> = vec![];
    for axis in axes {
        let tables = axis.steps.iter().any(|s| matches!(s, Step::Table(_)));
        if axis.extent == 1 && !tables {
            continue;
        }
        match merged.last_mut() {
            Some(outer) if continues(outer, axis) => {
                outer.extent *= axis.extent;
                outer.steps.clone_from(&axis.steps);
            }
            _ => merged.push(axis.clone()),
        }
    }
    merged
}

fn continues(outer: &Axis, inner: &Axis) -> bool {
    let mut pairs = outer.steps.iter().zip(&inner.steps);
    pairs.all(|pair| match pair {
        (Step::By(outer), Step::By(step)) => *outer == step * inner.extent,
        _ => false,
    })
}

/// The loops of a kernel.
struct Nest<'a> {
    fold: &'a Fold<'a>,
    axes: Vec<Axis>,
    row: Axis,
    vector: Axis,
    combined: Vec<Axis>,
}

impl Nest<'_> {
    fn body(&self) -> Vec<Stmt> {
        let target = self.fold.target;
        let (lanes, extent) = (target.lanes, self.vector.extent);
        let vectors = extent.div_ceil(lanes);
        let (rows, cols) = match self.combined.is_empty() {
            true => (1, 1),
            false => tile(target, self.row.extent, vectors),
        };
        let mut steps = Steps::default();
        let channels: Vec<Channels> = cut(vectors, cols)
            .iter()
            .flat_map(|segment| split(segment, lanes, extent))
            .collect();
        let body = steps.block(|steps| {
            for segment in cut(self.row.extent, rows) {
                let tiles = steps.block(|steps| self.row_of_tiles(steps, segment, &channels));
                let end = segment.start + segment.size * segment.count;
                steps
                    .stmts
                    .push(counted("w", segment.start, end, segment.size, tiles));
            }
        });
        self.outer(body)
    }

    fn row_of_tiles(&self, steps: &mut Steps, segment: Segment, channels: &[Channels]) {
        for channel in channels {
            let tile = Tile {
                rows: segment.size,
                cols: channel.vectors,
                stored: channel.stored,
            };
            let body = steps.block(|steps| self.tile(steps, tile));
            let width = channel.vectors * self.fold.target.lanes;
            let end = channel.start + width * channel.count;
            steps
                .stmts
                .push(counted("c", channel.start, end, width, body));
        }
    }

    /// `body` inside the loops over all other axes.
    fn outer(&self, mut body: Vec<Stmt>) -> Vec<Stmt> {
        for (depth, axis) in self.axes.iter().enumerate().rev() {
            body = looped(&format!("i{depth}"), axis, body);
        }
        body
    }

    fn tile(&self, steps: &mut Steps, tile: Tile) {
        let grid = || (0..tile.rows).flat_map(move |i| (0..tile.cols).map(move |j| (i, j)));
        if !self.combined.is_empty() {
            let start = real(self.fold.start);
            for (i, j) in grid() {
                steps
                    .stmts
                    .push(define_mutable(&sum(i, j), "vf32", start.clone()));
            }
            let mut body = steps.block(|steps| self.combine(steps, tile));
            for (depth, axis) in self.combined.iter().enumerate().rev() {
                body = looped(&format!("t{depth}"), axis, body);
            }
            steps.stmts.extend(body);
        }
        for (i, j) in grid() {
            let others: Vec<Expr> = self
                .operands(false)
                .map(|o| self.value(steps, tile, o, i, j))
                .collect();
            let sum = (!self.combined.is_empty()).then(|| var(sum(i, j)));
            let result = (self.fold.finish)(steps, sum, &others);
            self.store(steps, tile, result, i, j);
        }
    }

    fn operands(&self, inside: bool) -> impl Iterator<Item = usize> + '_ {
        let operands = self.fold.operands.iter().enumerate();
        operands
            .filter(move |(_, o)| o.inside == inside)
            .map(|(i, _)| i)
    }

    /// One step of every sum; what several of them share is read once.
    fn combine(&self, steps: &mut Steps, tile: Tile) {
        let mut of_columns: Vec<Vec<Option<Expr>>> =
            vec![vec![None; tile.cols]; self.fold.operands.len()];
        for o in self.operands(true).filter(|o| !self.follows(&self.row, *o)) {
            of_columns[o] = match self.follows(&self.vector, o) {
                true => {
                    let columns = 0..tile.cols;
                    columns
                        .map(|j| Some(self.value(steps, tile, o, 0, j)))
                        .collect()
                }
                false => vec![Some(self.value(steps, tile, o, 0, 0)); tile.cols],
            };
        }
        for i in 0..tile.rows {
            let mut of_row: Vec<Option<Expr>> = vec![None; self.fold.operands.len()];
            for j in 0..tile.cols {
                let known = |o: usize| of_columns[o].get(j).cloned().flatten();
                let values = self.values(steps, tile, [i, j], &known, &mut of_row);
                let value = (self.fold.combine)(steps, var(sum(i, j)), &values);
                steps.stmts.push(set(&sum(i, j), value));
            }
        }
    }

    /// The values of inside operands for one sum: those that are known already, and others.
    fn values(
        &self,
        steps: &mut Steps,
        tile: Tile,
        [i, j]: [usize; 2],
        known: &dyn Fn(usize) -> Option<Expr>,
        of_row: &mut [Option<Expr>],
    ) -> Vec<Expr> {
        let mut values = vec![];
        for o in self.operands(true) {
            let value = known(o).or_else(|| of_row[o].clone());
            let value = value.unwrap_or_else(|| self.value(steps, tile, o, i, j));
            if !self.follows(&self.vector, o) {
                of_row[o] = Some(value.clone());
            }
            values.push(value);
        }
        values
    }

    fn follows(&self, axis: &Axis, operand: usize) -> bool {
        axis.steps[operand] != Step::By(0)
    }

    /// How many elements of vector `j` exist, where that is less than all.
    fn part(&self, tile: Tile, j: usize) -> Option<usize> {
        let lanes = self.fold.target.lanes;
        let rest = tile.stored - j * lanes;
        (rest < lanes).then_some(rest)
    }

    /// A vector of an operand, as reals, under a name.
    fn value(&self, steps: &mut Steps, tile: Tile, operand: usize, i: usize, j: usize) -> Expr {
        let own = &self.fold.operands[operand];
        let size = if own.bytes { own.scalar.bytes() } else { 1 };
        let index = self.index(operand, i, j, own.inside) * size as i64;
        let address = at(own.name.clone(), index);
        let one = !self.follows(&self.vector, operand);
        let part = self.part(tile, j).filter(|_| !own.constant);
        steps.keep("x", "vf32", read(own, address, one, part))
    }

    /// Where vector `j` of row `i` of a tile lies in a buffer; the result is the last one.
    fn index(&self, buffer: usize, i: usize, j: usize, inside: bool) -> Expr {
        let along = |counter: String, axis: &Axis| match &axis.steps[buffer] {
            Step::By(step) => var(counter) * *step as i64,
            Step::Table(_) => var(format!("{counter}_{buffer}")),
        };
        let step = |axis: &Axis| match axis.steps[buffer] {
            Step::By(step) => step as i64,
            Step::Table(_) => unreachable!("tiles have no tables"),
        };
        let mut index = int(0);
        for (depth, axis) in self.axes.iter().enumerate() {
            index = index + along(format!("i{depth}"), axis);
        }
        let combined = self.combined.iter().enumerate().filter(|_| inside);
        for (depth, axis) in combined {
            index = index + along(format!("t{depth}"), axis);
        }
        index = index + (var("w") + int(i as i64)) * step(&self.row);
        let lanes = self.fold.target.lanes;
        index + (var("c") + int((j * lanes) as i64)) * step(&self.vector)
    }

    fn store(&self, steps: &mut Steps, tile: Tile, value: Expr, i: usize, j: usize) {
        let address = at(RESULT, self.index(self.fold.operands.len(), i, j, false));
        let part = self.part(tile, j);
        let Output { scalar, zero_point } = self.fold.output;
        let (value, [whole, piece]) = match scalar {
            Scalar::F32 => (value, ["store_f32", "store_f32_part"]),
            Scalar::I32 => {
                let bits = op("as_f32", [op("round_i32", [value])]);
                (bits, ["store_f32", "store_f32_part"])
            }
            _ => {
                let rounded = add(op("round_i32", [value]), zero_point);
                (rounded, elements(scalar).store)
            }
        };
        steps.stmts.push(Stmt::Do(match part {
            None => op(whole, [address, value]),
            Some(n) => op(piece, [address, value, int(n as i64)]),
        }));
    }
}

/// A vector of reals from memory, or `one` of them in each lane.
fn read(operand: &Operand, address: Expr, one: bool, part: Option<usize>) -> Expr {
    let scalar = operand.scalar;
    match (scalar, one) {
        _ if operand.halves() => op("load_f16", [address]),
        (Scalar::F32, true) => op("repeat_f32", [address]),
        (Scalar::F32, false) => match part {
            None => op("load_f32", [address]),
            Some(n) => op("load_f32_part", [address, int(n as i64)]),
        },
        (Scalar::I32, false) => op(
            "to_f32",
            [match part {
                None => op("load_i32", [address]),
                Some(n) => op("as_i32", [op("load_f32_part", [address, int(n as i64)])]),
            }],
        ),
        (Scalar::I32, true) => op("to_f32", [op("splat_i32", [op("read_i32", [address])])]),
        (_, true) => {
            let number = op(elements(scalar).read, [address]);
            op("to_f32", [op("splat_i32", [number])])
        }
        (_, false) => op("to_f32", [elements(scalar).get(address, part)]),
    }
}

/// A loop over an axis; positions that tables tell are defined in it.
fn looped(counter: &str, axis: &Axis, mut body: Vec<Stmt>) -> Vec<Stmt> {
    for (buffer, step) in axis.steps.iter().enumerate().rev() {
        if let Step::Table(table) = step {
            let place = op("index", [op("read_i32", [at(table.clone(), var(counter))])]);
            body.insert(0, define(&format!("{counter}_{buffer}"), "index", place));
        }
    }
    vec![counted(counter, 0, axis.extent, 1, body)]
}

fn counted(counter: &str, start: usize, end: usize, step: usize, body: Vec<Stmt>) -> Stmt {
    Stmt::For {
        var: counter.to_string(),
        start: int(start as i64),
        end: int(end as i64),
        step: step as i64,
        body,
    }
}

fn sum(row: usize, col: usize) -> String {
    format!("s{row}_{col}")
}
