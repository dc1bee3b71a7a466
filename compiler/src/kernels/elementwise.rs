//! Kernels that compute each element of the result from the elements at its place in the operands.

use crate::kernel::{Buffer, Expr, Kernel, Scalar, Stmt, at, int, op, var};
use crate::kernels::elements::elements;
use crate::kernels::nest::{Axis, Nest, sweep};
use crate::target::Target;

/// Where numbers lie: an operand or the result of a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// Name of the buffer or the constant.
    pub(crate) name: String,
    /// Whether it is a constant of the program.
    pub(crate) constant: bool,
    /// Its elements; of f32 constants, as many as a vector follow the last one.
    pub(crate) scalar: Scalar,
    /// Elements from one index to the next along each axis of the result; 0 where it is broadcast.
    pub(crate) strides: Vec<usize>,
}

/// What becomes of results before they are stored: `clamp(r + zero_point, low, high)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Added first.
    pub(crate) zero_point: i32,
    /// Smallest result.
    pub(crate) low: i32,
    /// Largest result.
    pub(crate) high: i32,
    /// What results are stored as.
    pub(crate) elem: Scalar,
}

/// The index space of an element-wise kernel.
#[derive(Clone, Debug)]
pub(crate) struct Elementwise<'a> {
    /// Shape of the result.
    pub(crate) extents: &'a [usize],
    /// Operands.
    pub(crate) operands: Vec<Source>,
    /// The result; named as an operand that it overwrites.
    pub(crate) result: Source,
    /// For which machine.
    pub(crate) target: &'a Target,
}

impl Elementwise<'_> {
    /// A kernel that computes in vectors of i32: `combine` is given the operands as loaded.
    /// Buffers: the operands that are no constants and not overwritten, then the result.
    pub(crate) fn arithmetic(
        &self,
        name: &str,
        limits: &Limits,
        combine: &dyn Fn(&[Expr]) -> Expr,
    ) -> Kernel {
        let (outer, inner) = self.nest();
        let body = outer.wrap(|positions| {
            let run = Run {
                space: self,
                inner: &inner,
                positions,
                limits,
                combine,
            };
            run.steps()
        });
        self.kernel(name, body, &[])
    }

    /// A kernel that looks the bits of each element up in a constant of the result's elements. One operand.
    pub(crate) fn table(&self, name: &str, table: &str) -> Kernel {
        let (outer, inner) = self.nest();
        let [source, result] = [&self.operands[0], &self.result].map(|s| elements(s.scalar));
        let bytes = self.operands[0].scalar.bytes() + self.result.scalar.bytes() == 2;
        let body = outer.wrap(|positions| {
            let (x, y) = (positions[0].clone(), positions[1].clone());
            let (from, to) = (&self.operands[0].name, &self.result.name);
            let single = |x: Expr, y: Expr| {
                let x = op("index", [op(source.bits, [at(from, x)])]);
                let found = op(result.bits, [at(table, x)]);
                vec![Stmt::Do(op(result.write, [at(to, y), found]))]
            };
            // A byte vector costs as much as some 16 elements.
            let vectors = if inner.strides == [1, 1] && bytes {
                (inner.extent + self.target.bytes / 2) / self.target.bytes
            } else {
                0
            };
            let vectorised = (vectors * self.target.bytes).min(inner.extent);
            let mut steps = sweep("j", vectorised, self.target.bytes, |piece| {
                let x = at(from, x.clone() + piece.at.clone());
                let y = at(to, y.clone() + piece.at.clone());
                let bytes = piece.op("load_bytes", "load_bytes_part", [x]);
                let found = op("lookup", [at(table, int(0)), bytes]);
                vec![Stmt::Do(piece.op(
                    "store_bytes",
                    "store_bytes_part",
                    [y, found],
                ))]
            });
            let rest = Axis {
                extent: inner.extent - vectorised,
                strides: inner.strides.clone(),
            };
            let start = int(vectorised as i64);
            steps.extend(rest.each(&[x + start.clone(), y + start], |each| {
                single(each[0].clone(), each[1].clone())
            }));
            steps
        });
        self.kernel(name, body, &[table])
    }

    /// A kernel that looks each pair of elements up in a constant of 65,536 bytes, the first operand's
    /// rows of the second's 256.
    pub(crate) fn pairs(&self, name: &str, table: &str) -> Kernel {
        let (outer, inner) = self.nest();
        let body = outer.wrap(|positions| {
            inner.each(positions, |at_each| {
                let index = |i: usize| {
                    let source = at(&self.operands[i].name, at_each[i].clone());
                    op("index", [op("read_u8", [source])])
                };
                let found = op("read_u8", [at(table, index(0) * 256 + index(1))]);
                let y = at(&self.result.name, at_each[2].clone());
                vec![Stmt::Do(op("write_byte", [y, found]))]
            })
        });
        self.kernel(name, body, &[table])
    }

    fn nest(&self) -> (Nest, Axis) {
        let sources = self.operands.iter().chain([&self.result]);
        let strides: Vec<_> = sources.map(|s| s.strides.as_slice()).collect();
        Nest::new(self.extents, &strides).split_inner()
    }

    fn kernel(&self, name: &str, body: Vec<Stmt>, constants: &[&str]) -> Kernel {
        let mut buffers: Vec<Buffer> = vec![];
        let mut constants: Vec<String> = constants.iter().map(|c| c.to_string()).collect();
        for source in &self.operands {
            let known = buffers.iter().any(|b| b.name == source.name);
            if source.constant {
                constants.push(source.name.clone());
            } else if source.name != self.result.name && !known {
                buffers.push(source.buffer(false));
            }
        }
        constants.sort();
        constants.dedup();
        buffers.push(self.result.buffer(true));
        Kernel {
            name: name.to_string(),
            comment: vec![],
            buffers,
            constants,
            body,
        }
    }
}

impl Source {
    fn buffer(&self, mutable: bool) -> Buffer {
        Buffer {
            name: self.name.clone(),
            elem: self.scalar,
            mutable,
        }
    }
}

/// The innermost loop of an arithmetic kernel.
struct Run<'a> {
    space: &'a Elementwise<'a>,
    inner: &'a Axis,
    positions: &'a [Expr],
    limits: &'a Limits,
    combine: &'a dyn Fn(&[Expr]) -> Expr,
}

impl Run<'_> {
    fn steps(&self) -> Vec<Stmt> {
        let target = self.space.target;
        let (count, lanes) = (self.inner.extent, target.lanes);
        let (last, others) = self.inner.strides.split_last().expect("a result");
        if *last != 1 || others.iter().any(|s| *s > 1) {
            return self.one_by_one();
        }
        let wide = if target.bytes > lanes && self.limits.elem.bytes() == 1 {
            count / target.bytes * target.bytes
        } else {
            0
        };
        let mut steps = sweep("j", wide, target.bytes, |piece| self.pack(&piece.at));
        let mut first = wide;
        while first < count {
            let rest = count - first;
            // Without byte vectors there is nothing but this loop, which need not be unrolled.
            if rest > 4 * lanes {
                let whole = rest / lanes * lanes;
                steps.push(Stmt::For {
                    var: "j".to_string(),
                    start: int(first as i64),
                    end: int((first + whole) as i64),
                    step: lanes as i64,
                    body: self.store(&var("j"), None, ""),
                });
                first += whole;
            } else {
                let part = (rest < lanes).then_some(rest);
                steps.extend(self.store(&int(first as i64), part, &format!("_{first}")));
                first += lanes;
            }
        }
        steps
    }

    /// Elements that do not lie beside each other.
    fn one_by_one(&self) -> Vec<Stmt> {
        let part = (self.space.target.lanes > 1).then_some(1);
        vec![Stmt::For {
            var: "j".to_string(),
            start: int(0),
            end: int(self.inner.extent as i64),
            step: 1,
            body: self.store(&var("j"), part, ""),
        }]
    }

    /// Computes and stores as many elements as a byte vector has.
    fn pack(&self, first: &Expr) -> Vec<Stmt> {
        let target = self.space.target;
        let mut steps = vec![];
        let vectors = (0..target.bytes / target.lanes).map(|i| {
            let at = first.clone() + int((i * target.lanes) as i64);
            self.compute(&at, None, &i.to_string(), &mut steps)
        });
        let vectors: Vec<Expr> = vectors.collect();
        let packed = self.limits.pack(vectors);
        steps.push(Stmt::Do(op("store_bytes", [self.output(first), packed])));
        steps
    }

    /// Computes and stores a vector or a part of one.
    fn store(&self, first: &Expr, part: Option<usize>, tag: &str) -> Vec<Stmt> {
        let mut steps = vec![];
        let result = self.compute(first, part, tag, &mut steps);
        steps.push(self.limits.store(self.output(first), result, part));
        steps
    }

    fn output(&self, first: &Expr) -> Expr {
        self.address(self.space.operands.len(), &self.space.result, first)
    }

    fn address(&self, i: usize, source: &Source, first: &Expr) -> Expr {
        let stride = self.inner.strides[i] as i64;
        at(
            &source.name,
            self.positions[i].clone() + first.clone() * stride,
        )
    }

    /// Names the operands' vectors and the result's, zero point added.
    fn compute(&self, first: &Expr, part: Option<usize>, tag: &str, steps: &mut Vec<Stmt>) -> Expr {
        let mut loaded = vec![];
        for (i, source) in self.space.operands.iter().enumerate() {
            let address = self.address(i, source, first);
            let (ty, value) = load(source.scalar, address, self.inner.strides[i], part);
            let name = format!("{}{tag}", ["u", "v", "w"][i]);
            steps.push(define(&name, ty, value));
            loaded.push(var(name));
        }
        let result = format!("r{tag}");
        let value = self.limits.shift((self.combine)(&loaded));
        steps.push(define(&result, "vi32", value));
        var(result)
    }
}

/// A vector from memory: `stride` 0 repeats one element.
fn load(scalar: Scalar, address: Expr, stride: usize, part: Option<usize>) -> (&'static str, Expr) {
    match (scalar, stride) {
        (Scalar::F32, _) => ("vf32", op("load_f32", [address])),
        (_, 0) => {
            let read = op(elements(scalar).read, [address]);
            ("vi32", op("splat_i32", [read]))
        }
        _ => ("vi32", elements(scalar).get(address, part)),
    }
}

impl Limits {
    /// Adds the zero point.
    pub(crate) fn shift(&self, vector: Expr) -> Expr {
        add(vector, self.zero_point)
    }

    /// Clamps and stores a vector of i32, or its first `part` lanes.
    pub(crate) fn store(&self, address: Expr, vector: Expr, part: Option<usize>) -> Stmt {
        let vector = self.clamp(vector, ["max_i32", "min_i32"], "splat_i32");
        elements(self.elem).put(address, vector, part)
    }

    /// Vectors of i32 as one of bytes, clamped.
    pub(crate) fn pack(&self, vectors: Vec<Expr>) -> Expr {
        let packed = op(self.pick(["pack_u8", "pack_i8"]), vectors);
        let limits = [
            self.pick(["max_u8", "max_i8"]),
            self.pick(["min_u8", "min_i8"]),
        ];
        self.clamp(packed, limits, "splat_byte")
    }

    fn pick(&self, names: [&'static str; 2]) -> &'static str {
        names[usize::from(self.elem == Scalar::I8)]
    }

    /// The limits that the saturating store does not impose by itself.
    fn clamp(&self, value: Expr, [max, min]: [&'static str; 2], splat: &'static str) -> Expr {
        let (low, high) = elements(self.elem).limits;
        let mut value = value;
        if self.low > low {
            value = op(max, [value, op(splat, [int(self.low.into())])]);
        }
        if self.high < high {
            value = op(min, [value, op(splat, [int(self.high.into())])]);
        }
        value
    }
}

/// A vector plus a number in each lane.
pub(crate) fn add(vector: Expr, number: i32) -> Expr {
    if number == 0 {
        return vector;
    }
    op("add_i32", [vector, op("splat_i32", [int(number.into())])])
}

/// A vector minus a number in each lane.
pub(crate) fn subtract(vector: Expr, number: i32) -> Expr {
    if number == 0 {
        return vector;
    }
    op("sub_i32", [vector, op("splat_i32", [int(number.into())])])
}

/// A real in each lane.
pub(crate) fn splat(real: f32) -> Expr {
    op("splat_f32", [int(real.to_bits().into())])
}

/// A value that does not change.
pub(crate) fn define(name: &str, ty: &'static str, value: Expr) -> Stmt {
    Stmt::Let {
        name: name.to_string(),
        ty,
        mutable: false,
        value,
    }
}

/// A value that [`set`] changes.
pub(crate) fn define_mutable(name: &str, ty: &'static str, value: Expr) -> Stmt {
    Stmt::Let {
        name: name.to_string(),
        ty,
        mutable: true,
        value,
    }
}

/// Changes a mutable value.
pub(crate) fn set(name: &str, value: Expr) -> Stmt {
    Stmt::Set {
        name: name.to_string(),
        value,
    }
}
