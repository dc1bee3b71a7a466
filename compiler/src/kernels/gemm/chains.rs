//! The inner loops of a product in chains ([`crate::kernels::chain`]).

use crate::kernel::{Expr, Scalar, Stmt, at, op, var};
use crate::kernels::gemm::{Build, Chains, grid, sum};
use crate::kernels::pixels::size;
use crate::kernels::requantize::define;

impl Build<'_> {
    /// The sums of a tile.
    pub(super) fn chains(&self, tile: [usize; 2], chains: &Chains) -> Vec<Stmt> {
        let entry = |i: usize| read(&chains.tiles, self.index(0) + size(i));
        let mut steps = vec![
            define("tile_weights", "index", entry(3)),
            define("tile_steps", "index", entry(4)),
        ];
        for kind in (0..2).filter(|kind| chains.kinds[*kind]) {
            let [first, last] = [kind, kind + 1].map(|end| (format!("chain{end}"), end));
            for (name, end) in [first.clone(), last.clone()] {
                let known = kind == 1 && end == 1 && chains.kinds[0];
                steps.extend((!known).then(|| define(&name, "index", entry(end))));
            }
            steps.push(Stmt::For {
                var: "b".to_string(),
                start: var(first.0),
                end: var(last.0),
                step: 1,
                body: self.one_chain(tile, chains, kind == 1),
            });
        }
        steps
    }

    fn one_chain(&self, tile: [usize; 2], chains: &Chains, signed: bool) -> Vec<Stmt> {
        let mut steps = vec![
            define("first", "index", read(&chains.starts, var("b"))),
            define("last", "index", read(&chains.starts, var("b") + size(1))),
        ];
        steps.extend(self.chain_step(tile, chains, signed, ("first", "")));
        steps.push(Stmt::For {
            var: "k".to_string(),
            start: var("first") + size(1),
            end: var("last"),
            step: 1,
            body: self.chain_step(tile, chains, signed, ("k", "k")),
        });
        for (i, j) in grid(tile[0], tile[1]) {
            let value = op("add_pairs", [var(sum(i, j)), var(pairs(i, j))]);
            let name = sum(i, j);
            steps.push(Stmt::Set { name, value });
        }
        steps
    }

    /// One step, the first of its chain or one that is added.
    fn chain_step(
        &self,
        [rows, cols]: [usize; 2],
        chains: &Chains,
        signed: bool,
        (step, tag): (&str, &str),
    ) -> Vec<Stmt> {
        let vector = self.unit.lanes * self.unit.k;
        let place = format!("place{tag}");
        let offset = read(&chains.offsets, var("tile_steps") + var(step));
        let mut steps = vec![define(&place, "index", offset)];
        let weights = var("tile_weights") + var(step) * (cols * vector) as i64;
        for j in 0..cols {
            let address = at(
                &self.gemm.constants.weights,
                weights.clone() + size(j * vector),
            );
            let (ty, [load, _]) = self.unit.weights;
            steps.push(define(&format!("w{tag}{j}"), ty, op(load, [address])));
        }
        for i in 0..rows {
            let index = self.activation(i, var(&place));
            let (loads, name, mut args) =
                self.chain_activations(signed, index, &format!("{tag}{i}"));
            steps.extend(loads);
            for j in 0..cols {
                args.push(var(format!("w{tag}{j}")));
                let product = op(name, args.clone());
                args.pop();
                let name = pairs(i, j);
                steps.push(match tag {
                    "" => Stmt::Let {
                        name,
                        ty: "vt",
                        mutable: true,
                        value: product,
                    },
                    _ => Stmt::Set {
                        value: op("add_i16", [var(&name), product]),
                        name,
                    },
                });
            }
        }
        steps
    }

    /// Activations of a step, the product that takes them, and its arguments but for the weights.
    fn chain_activations(
        &self,
        signed: bool,
        index: Expr,
        tag: &str,
    ) -> (Vec<Stmt>, &'static str, Vec<Expr>) {
        let (ty, [whole, _]) = self.unit.activations;
        let (a, v) = (format!("a{tag}"), format!("v{tag}"));
        let load = |name: &str, load: &'static str, buffer: &str| {
            define(name, ty, op(load, [at(buffer, index.clone())]))
        };
        let bytes = self.gemm.elem == Scalar::I8;
        let loads = match (signed, self.gemm.magnitudes) {
            (false, _) => vec![load(&a, unsigned(self.gemm.elem), "x")],
            (true, false) => vec![load(&a, whole, "x")],
            (true, true) => vec![
                load(&a, "load_a_i8", if bytes { "x" } else { "a" }),
                load(&v, "load_a_i8", "v"),
            ],
        };
        match (signed, loads.len()) {
            (false, _) => (loads, "unsigned_pairs", vec![var(a)]),
            (true, 1) => (loads, "signed_pairs", vec![var(a)]),
            (true, _) => (loads, "magnitude_pairs", vec![var(a), var(v)]),
        }
    }
}

/// What loads activations as numbers from 0 to 255.
pub(super) fn unsigned(elem: Scalar) -> &'static str {
    match elem {
        Scalar::I8 => "load_unsigned_i8",
        _ => "load_unsigned_u8",
    }
}

/// A number of a table, as an index.
fn read(table: &str, index: Expr) -> Expr {
    op("index", [op("read_i32", [at(table, index)])])
}

/// A sum of pairs in 16 bits.
pub(super) fn pairs(row: usize, col: usize) -> String {
    format!("p{row}_{col}")
}
