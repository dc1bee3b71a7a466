//! The loops and vector operations of one specialised kernel.

/// The element type of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "named as in Rust")]
pub enum Scalar {
    I8,
    U8,
    I16,
    U16,
    I32,
    U32,
    I64,
    /// The bits of an f32: a machine without floating point reads them as u32.
    F32,
}

impl Scalar {
    /// Size of an element.
    pub fn bytes(self) -> usize {
        match self {
            Scalar::I8 | Scalar::U8 => 1,
            Scalar::I16 | Scalar::U16 => 2,
            Scalar::I32 | Scalar::U32 | Scalar::F32 => 4,
            Scalar::I64 => 8,
        }
    }
}

/// An index (an exact non-negative integer of the size type), an address, or the value of an operation.
#[derive(Clone, Debug, PartialEq)]
pub enum Expr {
    /// A number: an index, or an argument of an operation that takes a number.
    Int(i64),
    /// A loop counter or a `let`.
    Var(String),
    /// Sum of two indices.
    Add(Box<Expr>, Box<Expr>),
    /// An index times a number.
    Mul(Box<Expr>, i64),
    /// The address of element `index` of buffer `name`.
    At(String, Box<Expr>),
    /// The first of `count` turns of a loop that belongs to this part of a call, or where `next` is set to the
    /// next part: `count · part / parts` or `count · (part + 1) / parts`, rounded down.
    Share {
        /// Turns of all parts together.
        count: i64,
        /// Whether the next part is asked for.
        next: bool,
    },
    /// The number of this part of a call.
    Part,
    /// A row of the target table, applied to arguments.
    Op(&'static str, Vec<Expr>),
}

/// One step of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Stmt {
    /// A new value; `ty` names a row of the target's `[types]`. `mutable` when some `Set` changes it.
    Let {
        /// Its name.
        name: String,
        /// Its type's name.
        ty: &'static str,
        /// Whether a `Set` changes it later.
        mutable: bool,
        /// What it starts as.
        value: Expr,
    },
    /// A new value for a mutable `let`.
    Set {
        /// Its name.
        name: String,
        /// What it becomes.
        value: Expr,
    },
    /// A counted loop: `var` runs from `start` below `end`, which are indices, in steps of `step`.
    For {
        /// The counter.
        var: String,
        /// Its first value.
        start: Expr,
        /// It stays below this.
        end: Expr,
        /// Positive.
        step: i64,
        /// The steps of one turn.
        body: Vec<Stmt>,
    },
    /// An operation for its effect (a store).
    Do(Expr),
    /// A line of explanation for the reader of the emitted file.
    Note(String),
}

/// Memory that a kernel is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// What the kernel calls it.
    pub name: String,
    /// Its elements.
    pub elem: Scalar,
    /// Whether the kernel writes it.
    pub mutable: bool,
}

/// A function over buffers whose every size is a compile-time fact; a table of constants may hold the ends of loops.
#[derive(Clone, Debug, PartialEq)]
pub struct Kernel {
    /// Unique in its program; an identifier in C and Rust.
    pub name: String,
    /// Lines above the function: the layer, its shapes and scales, what was proven.
    pub comment: Vec<String>,
    /// Parameters, in order. Buffers do not overlap, except that a kernel may be called in place where its
    /// builder says so.
    pub buffers: Vec<Buffer>,
    /// Names of constants of the program that the body reads as buffers.
    pub constants: Vec<String>,
    /// What it does.
    pub body: Vec<Stmt>,
}

impl Kernel {
    /// Whether it does one part of its work at a time: it is told which, as the indices `part` and `parts`.
    pub fn in_parts(&self) -> bool {
        shares(&self.body)
    }

    /// What its comment says was proven: of each line what follows the word.
    pub fn proven(&self) -> impl Iterator<Item = &str> {
        self.comment
            .iter()
            .filter_map(|line| line.split_once("Proven: ").map(|(_, proven)| proven))
    }
}

fn shares(body: &[Stmt]) -> bool {
    body.iter().any(|stmt| match stmt {
        Stmt::For { start, body, .. } => start.shares() || shares(body),
        _ => false,
    })
}

impl Expr {
    /// Whether its value depends on the part of the call.
    pub(crate) fn shares(&self) -> bool {
        match self {
            Expr::Share { .. } | Expr::Part => true,
            Expr::Int(_) | Expr::Var(_) => false,
            Expr::Add(a, b) => a.shares() || b.shares(),
            Expr::Mul(a, _) | Expr::At(_, a) => a.shares(),
            Expr::Op(_, args) => args.iter().any(Expr::shares),
        }
    }
}

/// A number.
pub fn int(value: i64) -> Expr {
    Expr::Int(value)
}

/// A loop counter or a `let`.
pub fn var(name: impl Into<String>) -> Expr {
    Expr::Var(name.into())
}

/// The address of an element.
pub fn at(buffer: impl Into<String>, index: Expr) -> Expr {
    Expr::At(buffer.into(), Box::new(index))
}

/// A named operation.
pub fn op(name: &'static str, args: impl Into<Vec<Expr>>) -> Expr {
    Expr::Op(name, args.into())
}

impl std::ops::Add for Expr {
    type Output = Expr;
    fn add(self, rhs: Expr) -> Expr {
        match (self, rhs) {
            (Expr::Int(0), e) | (e, Expr::Int(0)) => e,
            (Expr::Int(a), Expr::Int(b)) => Expr::Int(a + b),
            (a, b) => Expr::Add(Box::new(a), Box::new(b)),
        }
    }
}

impl std::ops::Mul<i64> for Expr {
    type Output = Expr;
    fn mul(self, rhs: i64) -> Expr {
        match (self, rhs) {
            (_, 0) => Expr::Int(0),
            (e, 1) => e,
            (Expr::Int(a), b) => Expr::Int(a * b),
            (Expr::Mul(e, a), b) => Expr::Mul(e, a * b),
            (e, b) => Expr::Mul(Box::new(e), b),
        }
    }
}
