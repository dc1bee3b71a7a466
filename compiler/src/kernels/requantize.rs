//! The end of a product: sums become stored integers.
//!
//! `y = clamp(round(sum · scale [+ (r − z_r) · ratio]) + zero_point, low, high)`, and the narrowing store.
//! Sums of more than 32 bits and residuals are scaled in f32; results of 32 bits are the sums.

use std::ops::Range;

use crate::kernel::{Expr, Scalar, Stmt, at, int, op, var};
use crate::kernels::View;
use crate::kernels::elements::elements;
use crate::kernels::scale::{Factors, Scale};
use crate::target::Target;

/// What becomes of a sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Requantize {
    /// The result's zero point.
    pub zero_point: i32,
    /// Smallest result.
    pub low: i32,
    /// Largest result.
    pub high: i32,
    /// What results are stored as.
    pub elem: Scalar,
    /// A tensor added before rounding; with scales in f32 only.
    pub residual: Option<Residual>,
    /// How sums are scaled: what the factors of all channels have in common.
    pub scaling: Scale,
}

/// A tensor of the result's shape, added to the scaled sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Residual {
    /// Its memory.
    pub view: View,
    /// Its elements.
    pub elem: Scalar,
    /// Its zero point.
    pub zero_point: i32,
    /// Its scale over the result's.
    pub ratio: f32,
}

/// Vectors of sums of one pixel, and where their results go.
pub(crate) struct Sums {
    /// Prefix of the names of the values made on the way.
    pub(crate) tag: String,
    /// Names of the sums; of their low parts, if there are high ones.
    pub(crate) sums: Vec<String>,
    /// Names of the parts of sums in units of 2¹⁶; empty where 32 bits hold all of a sum.
    pub(crate) high: Vec<String>,
    /// The scales, one vector for each of the sums.
    pub(crate) scales: Vec<Factors>,
    /// Results to store; the last vector may be partly padding.
    pub(crate) count: usize,
    /// Index of the first in buffer `y`.
    pub(crate) output: Expr,
    /// Index of the first in buffer `r`; not read without a residual.
    pub(crate) residual: Expr,
}

impl Requantize {
    /// Whether the sums are the results.
    pub(crate) fn keeps_sums(&self) -> bool {
        self.elem == Scalar::I32
    }

    /// The steps from sums to memory.
    pub(crate) fn store(&self, target: &Target, pixel: &Sums) -> Vec<Stmt> {
        self.store_by(target, pixel, ["pack_u8", "pack_i8"])
    }

    /// The same for a byte vector of results of 8 bits, of which each vector of sums has a quarter of each 16.
    pub(crate) fn store_joined(&self, target: &Target, pixel: &Sums) -> Vec<Stmt> {
        self.store_by(target, pixel, ["join_u8", "join_i8"])
    }

    /// The steps for neighbouring pixels, of which the result, and the residual if there is one, have so many elements
    /// from one to the next. Few channels of several pixels share a byte vector where nothing lies between them.
    pub(crate) fn store_row(
        &self,
        target: &Target,
        pixels: Vec<Sums>,
        strides: &[usize],
    ) -> Vec<Stmt> {
        let first = pixels.first().expect("a tile has pixels");
        let (vectors, elements) = (first.sums.len(), first.sums.len() * target.lanes);
        let dense = first.count == elements && strides.iter().all(|stride| *stride == elements);
        let few = !(vectors * target.lanes).is_multiple_of(target.bytes);
        if !dense || !few || self.elem.bytes() > 1 || pixels.len() == 1 {
            let steps = pixels.iter().flat_map(|pixel| self.store(target, pixel));
            return steps.collect();
        }
        let together = |part: fn(&Sums) -> &[String]| pixels.iter().flat_map(part).cloned();
        let joined = Sums {
            tag: "y".to_string(),
            sums: together(|pixel| &pixel.sums).collect(),
            high: together(|pixel| &pixel.high).collect(),
            scales: pixels.iter().flat_map(|p| p.scales.clone()).collect(),
            count: elements * pixels.len(),
            output: first.output.clone(),
            residual: first.residual.clone(),
        };
        self.store(target, &joined)
    }

    /// With the operation that narrows vectors to bytes, of u8 and of i8.
    fn store_by(&self, target: &Target, pixel: &Sums, pack: [&'static str; 2]) -> Vec<Stmt> {
        if self.keeps_sums() {
            return sums(target, pixel);
        }
        let mut steps = vec![];
        let vectors = target.bytes / target.lanes;
        let mut first = 0;
        let mut groups = vec![];
        while first < pixel.sums.len() {
            // Less than two vectors are not worth a byte vector.
            let single = vectors == 1 || self.elem.bytes() > 1;
            let size = if single || pixel.sums.len() - first == 1 {
                1
            } else {
                vectors.min(pixel.sums.len() - first)
            };
            groups.push(first..first + size);
            first += size;
        }
        for group in &groups {
            let later = group.len() > 1 && self.adds_later(target, pack);
            for j in group.clone() {
                let name = format!("{}{j}", pixel.tag);
                let rounded = self.round(target, pixel, j);
                let value = if self.zero_point == 0 || later || self.scaling.adds_zero_point() {
                    rounded
                } else {
                    op(
                        "add_i32",
                        [rounded, op("splat_i32", [int(self.zero_point.into())])],
                    )
                };
                steps.push(define(&name, "vi32", value));
            }
        }
        let narrowed = groups.into_iter();
        steps.extend(narrowed.flat_map(|group| self.narrow(target, pixel, group, pack)));
        steps
    }

    /// Whether the zero point is added to numbers that are narrower already.
    fn adds_later(&self, target: &Target, pack: [&str; 2]) -> bool {
        self.zero_point != 0
            && !self.scaling.adds_zero_point()
            && pack[0] == "pack_u8"
            && target.has("pack_add_u8")
    }

    fn round(&self, target: &Target, pixel: &Sums, j: usize) -> Expr {
        let mut args: Vec<Expr> = pixel.high.get(j).map(var).into_iter().collect();
        args.push(var(&pixel.sums[j]));
        args.extend(pixel.scales[j].args());
        args.extend(self.scaling.shared());
        let names = match pixel.high.is_empty() {
            true => [self.scaling.op(), "scale_add_round"],
            false => ["scale_round_wide", "scale_add_round_wide"],
        };
        let Some(residual) = &self.residual else {
            return op(names[0], args);
        };
        let (first, lanes) = (j * target.lanes, target.lanes);
        let address = at("r", pixel.residual.clone() + int(first as i64));
        let part = (pixel.count - first < lanes).then_some(pixel.count - first);
        let added = elements(residual.elem).get(address, part);
        let added = if residual.zero_point == 0 {
            added
        } else {
            op(
                "sub_i32",
                [added, op("splat_i32", [int(residual.zero_point.into())])],
            )
        };
        let ratio = op("splat_f32", [int(residual.ratio.to_bits().into())]);
        args.extend([added, ratio]);
        op(names[1], args)
    }

    /// Clamps and stores some of the vectors.
    fn narrow(
        &self,
        target: &Target,
        pixel: &Sums,
        vectors: Range<usize>,
        [unsigned, signed]: [&'static str; 2],
    ) -> Vec<Stmt> {
        let (first, size) = (vectors.start, vectors.len());
        let count = (size * target.lanes).min(pixel.count - first * target.lanes);
        let address = at(
            "y",
            pixel.output.clone() + int((first * target.lanes) as i64),
        );
        let name = |j: usize| var(format!("{}{}", pixel.tag, first + j));
        if size == 1 {
            let value = self.clamp(name(0), ["max_i32", "min_i32"], "splat_i32");
            let part = (count < target.lanes).then_some(count);
            return vec![elements(self.elem).put(address, value, part)];
        }
        let vectors: Vec<_> = (0..target.bytes / target.lanes)
            .map(|j| name(j.min(size - 1)))
            .collect();
        let packed = match self.adds_later(target, [unsigned, signed]) {
            true => {
                let zero_point = int(self.zero_point.into());
                let args = [vectors, vec![zero_point]].concat();
                op(self.pick("pack_add_u8", "pack_add_i8"), args)
            }
            false => op(self.pick(unsigned, signed), vectors),
        };
        let limits = [self.pick("max_u8", "max_i8"), self.pick("min_u8", "min_i8")];
        let packed = self.clamp(packed, limits, "splat_byte");
        vec![Stmt::Do(if count == target.bytes {
            op("store_bytes", [address, packed])
        } else {
            op("store_bytes_part", [address, packed, int(count as i64)])
        })]
    }

    fn pick(&self, unsigned: &'static str, signed: &'static str) -> &'static str {
        match self.elem {
            Scalar::I8 => signed,
            _ => unsigned,
        }
    }

    /// The limits that the saturating store does not already impose.
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

/// Stores vectors of sums.
fn sums(target: &Target, pixel: &Sums) -> Vec<Stmt> {
    let vectors = pixel.sums.iter().enumerate();
    let stores = vectors.map(|(j, sum)| {
        let first = j * target.lanes;
        let address = at("y", pixel.output.clone() + int(first as i64));
        let value = op("as_f32", [var(sum)]);
        Stmt::Do(match pixel.count - first {
            n if n < target.lanes => op("store_f32_part", [address, value, int(n as i64)]),
            _ => op("store_f32", [address, value]),
        })
    });
    stores.collect()
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
