//! Depthwise convolution of as many channels at once as a byte vector has.
//!
//! Bytes of several taps are zipped, and multiplied as bytes. A zip takes one half of each 16 bytes, so that the sums
//! of a byte vector lie in four vectors: in vector `q`, lanes `4b..4b + 4` are channels `16b + 4q..16b + 4q + 4`.
//! Narrowing them to bytes brings them back in order.
//!
//! A machine that adds four products at once takes four taps (`dot_quads`). One that adds pairs of them in 16 bits
//! (`pair_products`) adds as many pairs there as [`prove::linked()`] shows to fit; where that would be few, products
//! are of 16 bits. One that adds single products in 16 bits (`mul_add_low`) needs no zip: the sums lie as the channels.

use super::{Depthwise, Group, UNROLLED_TAPS, groups};
use crate::Result;
use crate::kernel::{Expr, Scalar, Stmt, at, op, var};
use crate::kernels::pack::{Packed, Product, each};
use crate::kernels::pixels::{Pixels, size};
use crate::kernels::requantize::{Sums, define};
use crate::kernels::scale::loads;
use crate::kernels::{Form, Names};
use crate::prove::{self, Link};
use crate::target::Target;

/// Vectors of sums of a block.
const QUARTERS: usize = 4;

/// Which channels are computed in blocks, and how.
#[derive(Clone, Debug)]
pub struct Blocks {
    /// The first so many channels.
    pub channels: usize,
    /// Neighbouring results of a block; more than one where a byte vector has more bytes than there are channels.
    pub pixels: usize,
    /// Names of the constants.
    pub constants: Names,
    groups: Vec<Group>,
    products: Products,
    /// What is added to an activation that is read.
    offset: i32,
}

/// What is multiplied at once.
#[derive(Clone, Debug)]
enum Products {
    /// Four bytes, added in 32 bits.
    Quads,
    /// Two bytes, added in these sums of 16 bits.
    Chains(Vec<Vec<Link>>),
    /// Two numbers of 16 bits, added in 32 bits.
    Words,
    /// One byte, added in these sums of 16 bits.
    Taps(Vec<Vec<usize>>),
}

impl Blocks {
    /// Blocks for a machine that has them, where they are faster.
    pub fn new(conv: &Depthwise, target: &Target, product: &Product) -> Option<Blocks> {
        let quads = target.has("dot_quads");
        let taps = !quads && target.has("mul_add_low");
        let offset = offset(conv.elem, taps);
        let bytes = [conv.elem, conv.requantize.elem].map(Scalar::bytes) == [1, 1];
        let plain = conv.form == Form::Bytes { parts: 1 } && conv.requantize.residual.is_none();
        let few = (1..=UNROLLED_TAPS).contains(&conv.window.taps());
        let known = quads || taps || target.has("pair_products");
        if !(known && bytes && plain && few) || prove::sums(product, offset).is_err() {
            return None;
        }
        let (channels, pixels) = conv.covered(target)?;
        let mut blocks = Blocks {
            channels,
            pixels,
            constants: Names::default(),
            groups: groups(
                &conv.window,
                [2, 4, 1][usize::from(quads) + 2 * usize::from(taps)],
                1,
            ),
            products: Products::Quads,
            offset,
        };
        if taps {
            let weights: Vec<_> = blocks
                .groups
                .iter()
                .map(|g| column(g[0], product))
                .collect();
            let range = range(product, offset);
            blocks.products = Products::Taps(prove::tap_chains(&weights, range));
        } else if !quads {
            let pairs: Vec<_> = blocks.groups.iter().map(|g| pairs(g, product)).collect();
            let chains = prove::linked(&pairs, range(product, offset).1);
            let work = chains.len() + chains.iter().map(Vec::len).sum::<usize>();
            blocks.products = match 2 * work <= 5 * pairs.len() {
                true => Products::Chains(chains),
                // Neighbouring results of a block of several share nothing.
                false if pixels > 1 => return None,
                false => Products::Words,
            };
        }
        Some(blocks)
    }

    /// What a reader of the kernel should know.
    pub fn comment(&self, target: &Target) -> String {
        let at_once = match self.pixels {
            1 => format!("{} channels at a time", target.bytes),
            pixels => format!("{pixels} results at a time"),
        };
        match &self.products {
            Products::Quads => format!("{at_once}, four products added at once."),
            Products::Chains(chains) => {
                let count = chains.len();
                format!("{at_once}. Proven: {count} sums of pairs of products fit 16 bits.")
            }
            Products::Words => format!("{at_once}, two products added at once."),
            Products::Taps(chains) => {
                let count = chains.len();
                format!("{at_once}. Proven: {count} sums of products fit 16 bits.")
            }
        }
    }

    /// Their constants: weights `[block][half][link][channel][tap]`, `[block][half][group][quarter][lane][tap]` or
    /// `[block][tap][channel]`, the others in the order of the sums.
    pub fn pack(&self, target: &Target, product: &Product) -> Packed {
        let width = self.pixels * self.channels;
        let channel = |place: usize| place % self.channels;
        let halves = (0..width).step_by(target.bytes);
        let halves = halves.flat_map(|first| [0, 1].map(|half| (first, half)));
        let weights = halves.flat_map(|(first, half)| match &self.products {
            Products::Chains(chains) => of_links(chains, half, |n| channel(first + n), target),
            Products::Taps(_) if half == 1 => vec![],
            Products::Taps(chains) => {
                let taps = chains.iter().flatten().map(|tap| &self.groups[*tap]);
                let places = first..first + target.bytes;
                let rows = taps.flat_map(|tap| places.clone().map(move |place| (place, tap[0])));
                let weight = |(place, tap): (usize, Option<usize>)| {
                    tap.map_or(0, |tap| product.row(channel(place))[tap] as u8)
                };
                rows.map(weight).collect()
            }
            _ => {
                let quarters = [2 * half, 2 * half + 1];
                let places = quarters.map(|quarter| order(first, quarter, target));
                of_groups(&self.groups, places, |place| product.row(channel(place)))
            }
        });
        let weights = weights.collect();
        let blocks = (0..width).step_by(target.bytes);
        let places = blocks.flat_map(|first| (0..QUARTERS).map(move |quarter| (first, quarter)));
        let places = places.flat_map(|(first, quarter)| order(first, quarter, target));
        let channels = || places.clone().map(|place| Some(channel(place)));
        let (scales, shifts) = product.scale_words(channels());
        Packed {
            weights,
            lows: vec![],
            bias: each(channels(), |c| product.start(c, self.offset) as i32),
            high: vec![],
            scales,
            shifts,
            places: product.places(),
        }
    }

    /// Shows of packed weights what the comment says is proven.
    ///
    /// # Errors
    ///
    /// A sum that leaves 16 bits.
    pub fn check(&self, weights: &[u8], target: &Target, product: &Product) -> Result<()> {
        let (each, lengths): (_, Vec<_>) = match &self.products {
            Products::Quads | Products::Words => return Ok(()),
            Products::Chains(chains) => (2, chains.iter().map(Vec::len).collect()),
            Products::Taps(chains) => (1, chains.iter().map(Vec::len).collect()),
        };
        let range = range(product, self.offset);
        prove::added(weights, [target.bytes, each], &lengths, range)
    }

    /// The most results of a tile, of so many whose sums of one vector the registers hold.
    pub(super) fn rows(&self, most: usize) -> usize {
        match self.products {
            // Their sums in 32 and in 16 bits take six vectors.
            Products::Taps(_) => most.div_ceil(2).min(4),
            _ => most,
        }
    }

    /// The steps of a block of `rows` results from channel `c` on; with several pixels, as many times more results.
    pub(super) fn tile(
        &self,
        conv: &Depthwise,
        target: &Target,
        pixels: &Pixels,
        rows: usize,
        c: Expr,
    ) -> Vec<Stmt> {
        let mut tile = Tile {
            blocks: self,
            conv,
            target,
            pixels,
            rows,
            c,
            steps: vec![],
            values: vec![],
        };
        for half in 0..2 {
            match &self.products {
                Products::Chains(chains) => tile.chains(half, chains),
                Products::Quads => tile.lanes(half, "dot_quads", Tile::quads),
                Products::Words => tile.lanes(half, "dot_taps", Tile::words),
                Products::Taps(chains) if half == 0 => tile.taps(chains),
                Products::Taps(_) => {}
            }
        }
        tile.store();
        tile.steps
    }
}

/// Weights of the channels of one half of a block, each link's beside each other.
fn of_links(
    chains: &[Vec<Link>],
    half: usize,
    channel: impl Fn(usize) -> usize,
    target: &Target,
) -> Vec<u8> {
    let places = (0..target.bytes / 2).map(|n| n / 8 * 16 + half * 8 + n % 8);
    let links = chains.iter().flatten();
    let pairs = links.flat_map(|link| {
        let channels = places.clone().map(&channel);
        channels.map(move |channel| link.weights[channel])
    });
    pairs.flatten().map(|w| w as u8).collect()
}

/// Weights of the channels at some places, whose rows are given, each group's beside each other.
fn of_groups<'a>(
    groups: &[Group],
    places: [impl Iterator<Item = usize> + Clone; 2],
    row: impl Fn(usize) -> &'a [i32],
) -> Vec<u8> {
    let mut weights = vec![];
    for group in groups {
        for place in places.iter().flat_map(|places| places.clone()) {
            let taps = group.iter().map(|tap| tap.map_or(0, |tap| row(place)[tap]));
            weights.extend(taps.map(|w| w as u8));
        }
    }
    weights
}

/// Weights of a group of two taps, for each channel.
fn pairs(group: &Group, product: &Product) -> Vec<[i32; 2]> {
    let weight =
        |channel: usize, tap: Option<usize>| tap.map_or(0, |tap| product.row(channel)[tap]);
    let channels = 0..product.bias.len();
    let pair = |channel| [group[0], group[1]].map(|tap| weight(channel, tap));
    channels.map(pair).collect()
}

/// Weights of a tap, for each channel.
fn column(tap: Option<usize>, product: &Product) -> Vec<i32> {
    let weight = |channel| tap.map_or(0, |tap| product.row(channel)[tap]);
    (0..product.bias.len()).map(weight).collect()
}

/// Activations as they are multiplied; padding is the zero point.
fn range(product: &Product, offset: i32) -> (i32, i32) {
    let (low, high) = product.range;
    let (low, high) = (low.min(product.zero_point), high.max(product.zero_point));
    (low + offset, high + offset)
}

/// What is added to an activation so that it is an i8, if that is `signed`, or a u8.
fn offset(elem: Scalar, signed: bool) -> i32 {
    match (elem, signed) {
        (Scalar::I8, false) => 128,
        (Scalar::U8, true) => -128,
        _ => 0,
    }
}

/// Places of the sums of a quarter, in a block that begins at `first`.
fn order(first: usize, quarter: usize, target: &Target) -> impl Iterator<Item = usize> + Clone {
    (0..target.lanes).map(move |lane| first + lane / 4 * 16 + 4 * quarter + lane % 4)
}

/// A block under construction.
struct Tile<'a> {
    blocks: &'a Blocks,
    conv: &'a Depthwise,
    target: &'a Target,
    pixels: &'a Pixels,
    rows: usize,
    c: Expr,
    steps: Vec<Stmt>,
    /// What has a name already.
    values: Vec<(Expr, String)>,
}

impl Tile<'_> {
    /// The name of a value, that of an equal one if there is one.
    fn named(&mut self, prefix: &str, ty: &'static str, value: Expr) -> Expr {
        if let Some((_, name)) = self.values.iter().find(|(known, _)| *known == value) {
            return var(name);
        }
        let alike = |(_, name): &&(Expr, String)| name.trim_end_matches(char::is_numeric) == prefix;
        let name = format!("{prefix}{}", self.values.iter().filter(alike).count());
        self.steps.push(define(&name, ty, value.clone()));
        self.values.push((value, name.clone()));
        var(name)
    }

    fn set(&mut self, name: String, ty: &'static str, value: Expr, first: bool, last: bool) {
        self.steps.push(match first {
            true => Stmt::Let {
                name,
                ty,
                mutable: !last,
                value,
            },
            false => Stmt::Set { name, value },
        });
    }

    /// Where the first result's activations begin.
    fn corner(&self) -> Expr {
        self.pixels.index(0) + self.c.clone()
    }

    /// Element offsets of a group's taps for result `i`.
    fn offsets(&self, group: &Group, i: usize) -> Vec<usize> {
        let stride = self.blocks.pixels * self.pixels.row().strides[0];
        self.conv.offsets(group, [i, self.rows], stride)
    }

    fn activations(&mut self, prefix: &str, offset: usize) -> Expr {
        let loaded = op("load_bytes", [at("x", self.corner() + size(offset))]);
        let value = match self.blocks.offset {
            0 => loaded,
            128 => op("shift_i8", [loaded]),
            _ => op("shift_u8", [loaded]),
        };
        self.named(prefix, "vb", value)
    }

    /// Activations at two offsets, zipped: one half of each 16.
    fn zipped(&mut self, offsets: &[usize], half: usize) -> Expr {
        let pair = [offsets[0], offsets[1]].map(|offset| self.activations("x", offset));
        self.named("p", "vb", op(["zip_low", "zip_high"][half], pair))
    }

    /// The block's vector of weights number `index`.
    fn weights(&mut self, index: usize) -> Expr {
        let (bytes, groups) = (self.target.bytes, self.blocks.groups.len());
        let (count, size_of_each) = match &self.blocks.products {
            Products::Quads => (4 * groups, bytes),
            Products::Words => (4 * groups, bytes / 2),
            Products::Chains(chains) => (2 * links(chains), bytes),
            Products::Taps(_) => (groups, bytes),
        };
        let address = self.c.clone() * (count * size_of_each / bytes) as i64;
        let address = at(
            &self.blocks.constants.weights,
            address + size(index * size_of_each),
        );
        match self.blocks.products {
            Products::Words => self.named("w", "vt", op("tap_weights", [address])),
            _ => self.named("w", "vb", op("load_bytes", [address])),
        }
    }

    fn bias(&mut self, quarter: usize) -> Expr {
        let address = self.c.clone() + size(quarter * self.target.lanes);
        let bias = at(&self.blocks.constants.bias, address);
        self.named("b", "vi32", op("load_i32", [bias]))
    }

    /// Two quarters of the sums, from activations that lie as the sums do.
    fn lanes(
        &mut self,
        half: usize,
        dot: &'static str,
        activations: fn(&mut Self, &[usize], usize) -> [Expr; 2],
    ) {
        let quarters = [2 * half, 2 * half + 1];
        for quarter in quarters {
            let bias = self.bias(quarter);
            for i in 0..self.rows {
                self.set(sum(i, quarter), "vi32", bias.clone(), true, false);
            }
        }
        let groups = &self.blocks.groups;
        for (offsets, i, g) in self.uses(groups.iter().enumerate()) {
            let activations = activations(self, &offsets, half);
            for (j, activations) in activations.into_iter().enumerate() {
                let weights = self.weights(2 * (half * groups.len() + g) + j);
                let name = sum(i, quarters[j]);
                let value = op(dot, [var(&name), activations, weights]);
                self.set(name, "vi32", value, false, false);
            }
        }
    }

    /// Bytes of four taps beside each other, for each quarter.
    fn quads(&mut self, offsets: &[usize], half: usize) -> [Expr; 2] {
        let pairs = [&offsets[..2], &offsets[2..]].map(|pair| self.zipped(pair, half));
        ["zip_pairs_low", "zip_pairs_high"].map(|zip| self.named("a", "vb", op(zip, pairs.clone())))
    }

    /// Numbers of 16 bits of two taps beside each other, for each quarter.
    fn words(&mut self, offsets: &[usize], half: usize) -> [Expr; 2] {
        let pair = self.zipped(offsets, half);
        ["widen_low", "widen_high"].map(|widen| self.named("a", "vt", op(widen, [pair.clone()])))
    }

    /// Two quarters of the sums by way of sums of 16 bits.
    fn chains(&mut self, half: usize, chains: &[Vec<Link>]) {
        let mut before = half * links(chains);
        for (turn, two) in chains.chunks(2).enumerate() {
            let all = two.iter().enumerate();
            let all: Vec<_> = all
                .flat_map(|(chain, links)| links.iter().map(move |link| (chain, link.pair)))
                .collect();
            let groups = all.iter().map(|(_, pair)| &self.blocks.groups[*pair]);
            let mut seen = vec![];
            for (offsets, i, link) in self.uses(groups.enumerate()) {
                let chain = all[link].0;
                let pair = self.zipped(&offsets, half);
                let weights = self.weights(before + link);
                let product = op("pair_products", [pair, weights]);
                let name = narrow(i, half, 2 * turn + chain);
                let first = !seen.contains(&name);
                let value = match first {
                    true => product,
                    false => op("add_i16", [var(&name), product]),
                };
                self.set(name.clone(), "vt", value, first, two[chain].len() == 1);
                seen.push(name);
            }
            before += all.len();
            let last = 2 * turn + two.len() == chains.len();
            self.flush(half, turn, last);
        }
    }

    /// Adds two chains to the sums.
    fn flush(&mut self, half: usize, turn: usize, last: bool) {
        for (j, add) in ["add_low", "add_high"].into_iter().enumerate() {
            let quarter = 2 * half + j;
            let bias = self.bias(quarter);
            for i in 0..self.rows {
                let name = sum(i, quarter);
                let so_far = if turn == 0 { bias.clone() } else { var(&name) };
                let [a, b] = [0, 1].map(|chain| var(narrow(i, half, 2 * turn + chain)));
                let value = op(add, [so_far, a, b]);
                self.set(name, "vi32", value, turn == 0, last);
            }
        }
    }

    /// All sums by way of sums of 16 bits of single products.
    fn taps(&mut self, chains: &[Vec<usize>]) {
        let (mut before, rows) = (0, self.rows);
        for (turn, chain) in chains.iter().enumerate() {
            // Registers do not hold activations from one chain to the next.
            self.values.retain(|(_, name)| !name.starts_with('x'));
            let groups = chain.iter().map(|tap| &self.blocks.groups[*tap]);
            let mut seen = vec![];
            for (offsets, i, tap) in self.uses(groups.enumerate()) {
                let activations = self.activations(&format!("x{turn}_"), offsets[0]);
                let weights = self.weights(before + tap);
                for half in 0..2 {
                    let name = narrow(i, half, turn);
                    let operands = [activations.clone(), weights.clone()];
                    let first = !seen.contains(&name);
                    let value = match first {
                        true => op(["mul_low", "mul_high"][half], operands),
                        false => {
                            let operands = [&[var(&name)], &operands[..]].concat();
                            op(["mul_add_low", "mul_add_high"][half], operands)
                        }
                    };
                    self.set(name.clone(), "vh", value, first, chain.len() == 1);
                    seen.push(name);
                }
            }
            before += chain.len();
            for (quarter, i) in (0..QUARTERS).flat_map(|q| (0..rows).map(move |i| (q, i))) {
                let name = sum(i, quarter);
                let so_far = match turn {
                    0 => self.bias(quarter),
                    _ => var(&name),
                };
                let add = ["widen_add_low", "widen_add_high"][quarter % 2];
                let value = op(add, [so_far, var(narrow(i, quarter / 2, turn))]);
                self.set(name, "vi32", value, turn == 0, turn + 1 == chains.len());
            }
        }
    }

    /// Offsets of activations, result and index of each product, neighbours in memory beside each other.
    fn uses<'g>(
        &self,
        groups: impl Iterator<Item = (usize, &'g Group)>,
    ) -> Vec<(Vec<usize>, usize, usize)> {
        let results = |(g, group)| (0..self.rows).map(move |i| (self.offsets(group, i), i, g));
        let mut uses: Vec<_> = groups.flat_map(results).collect();
        uses.sort();
        uses
    }

    fn store(&mut self) {
        let mut scales = vec![];
        for quarter in 0..QUARTERS {
            let place = self.c.clone() + size(quarter * self.target.lanes);
            let (loaded, factors) =
                loads(&self.blocks.constants, &format!("m{quarter}"), |constant| {
                    at(constant, place.clone())
                });
            self.steps.extend(loaded);
            scales.push(factors);
        }
        let stride = self.blocks.pixels * self.pixels.row().strides[1];
        for i in 0..self.rows {
            let pixel = Sums {
                tag: format!("y{i}_"),
                sums: (0..QUARTERS).map(|quarter| sum(i, quarter)).collect(),
                high: vec![],
                scales: scales.clone(),
                count: self.target.bytes,
                output: self.pixels.index(1) + self.c.clone() + size(i * stride),
                residual: size(0),
            };
            let requantize = &self.conv.requantize;
            self.steps.extend(match self.blocks.products {
                Products::Taps(_) => requantize.store(self.target, &pixel),
                _ => requantize.store_joined(self.target, &pixel),
            });
        }
    }
}

/// How many there are in all chains.
fn links(chains: &[Vec<Link>]) -> usize {
    chains.iter().map(Vec::len).sum()
}

/// Name of a sum.
fn sum(result: usize, quarter: usize) -> String {
    format!("s{result}_{quarter}")
}

/// Name of a sum of 16 bits.
fn narrow(result: usize, half: usize, chain: usize) -> String {
    format!("{}{result}_{chain}", ["low", "high"][half])
}
