//! How a matrix product is cut into register tiles.

/// Consecutive tiles of one size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// Index of the first row or vector.
    pub start: usize,
    /// Rows or vectors of a tile.
    pub size: usize,
    /// Tiles.
    pub count: usize,
}

/// Tiles of a product: pixels down, vectors of channels across.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tiling {
    /// Cuts a row of pixels.
    pub rows: Vec<Segment>,
    /// Cuts the vectors of channels of a group.
    pub cols: Vec<Segment>,
}

/// Consecutive tiles of channels of one group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Channels {
    /// First channel.
    pub start: usize,
    /// Vectors of a tile.
    pub vectors: usize,
    /// Channels of a tile that exist; the others are padding.
    pub stored: usize,
    /// Tiles.
    pub count: usize,
}

/// The cheapest cut of `pixels` by `vectors` into tiles of at most as many accumulators as `most`, rows and columns, has,
/// where each row has `own` beside those of its columns.
///
/// A wide tile shares the preparation of an activation among its columns, a tall one each load of weights
/// among its rows; the remainders become a second, smaller tile.
pub(crate) fn tiling(most: [usize; 2], own: usize, pixels: usize, vectors: usize) -> Tiling {
    let accumulators = most[0] * (most[1] + own);
    let shapes = (1..=most[1].min(vectors)).rev().flat_map(|cols| {
        let rows = (accumulators / (cols + own)).min(pixels);
        (1..=rows).rev().map(move |rows| (rows, cols))
    });
    let tilings = shapes.map(|(rows, cols)| Tiling {
        rows: cut(pixels, rows),
        cols: cut(vectors, cols),
    });
    tilings
        .min_by_key(cost)
        .expect("there is a tile of one row and one column")
}

/// Full tiles of `size`, then one of what remains.
pub(crate) fn cut(extent: usize, size: usize) -> Vec<Segment> {
    let (count, rest) = (extent / size, extent % size);
    let full = Segment {
        start: 0,
        size,
        count,
    };
    let tail = Segment {
        start: count * size,
        size: rest,
        count: 1,
    };
    [full, tail]
        .into_iter()
        .filter(|s| s.size * s.count > 0)
        .collect()
}

/// Whole tiles of a segment of vectors, and the last tile alone where some of its lanes are padding.
pub(crate) fn split(segment: &Segment, lanes: usize, channels: usize) -> Vec<Channels> {
    let width = segment.size * lanes;
    let start = segment.start * lanes;
    let tile = |start, count, stored| Channels {
        start,
        vectors: segment.size,
        stored,
        count,
    };
    if start + segment.count * width <= channels {
        return vec![tile(start, segment.count, width)];
    }
    let last = start + (segment.count - 1) * width;
    let mut tiles = vec![
        tile(start, segment.count - 1, width),
        tile(last, 1, channels - last),
    ];
    tiles.retain(|t| t.count > 0);
    tiles
}

/// Quarters of a vector operation for one step of `k` over all tiles: four a product, one and a half to
/// prepare an activation, half a load of weights, two for the loop; each further shape costs code.
fn cost(tiling: &Tiling) -> usize {
    let tiles = |f: fn(&Segment, &Segment) -> usize| -> usize {
        let pairs = tiling
            .rows
            .iter()
            .flat_map(|r| tiling.cols.iter().map(move |c| (r, c)));
        pairs.map(|(r, c)| r.count * c.count * f(r, c)).sum()
    };
    let work = tiles(|r, c| 16 * r.size * c.size + 6 * r.size + 2 * c.size + 8);
    work + 8 * (tiling.rows.len() * tiling.cols.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: [usize; 2] = [2, 4];

    fn covered(segments: &[Segment]) -> usize {
        segments.iter().map(|s| s.size * s.count).sum()
    }

    #[test]
    fn tiles_cover_everything_within_the_registers() {
        for pixels in 1..60 {
            for vectors in 1..20 {
                let tiling = tiling(MOST, 0, pixels, vectors);
                assert_eq!(covered(&tiling.rows), pixels);
                assert_eq!(covered(&tiling.cols), vectors);
                for (r, c) in tiling.rows.iter().zip(&tiling.cols) {
                    assert!(r.size * c.size <= 8, "{tiling:?}");
                }
            }
        }
    }

    #[test]
    fn three_vectors_become_one_tile() {
        let cols = tiling(MOST, 0, 112, 3).cols;
        assert_eq!(
            cols,
            [Segment {
                start: 0,
                size: 3,
                count: 1
            }]
        );
    }
}
