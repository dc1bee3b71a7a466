//! Matrix products on f32: the one place that calls `gemm`.

use gemm::Parallelism;

/// A matrix inside a slice: element `(i, j)` is `data[i·strides[0] + j·strides[1]]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// Rows of `columns` elements, one after the other.
    pub(crate) fn rows(data: &'a [f32], columns: usize) -> Matrix<'a> {
        Matrix {
            data,
            strides: [columns, 1],
        }
    }
}

/// `out += a · b` for `a [m, k]` and `b [k, n]`; row `i` of `out` begins at `i·stride`.
///
/// Runs on the calling thread: whoever evaluates many samples spreads them over threads.
pub(crate) fn accumulate(
    [m, k, n]: [usize; 3],
    a: Matrix,
    b: Matrix,
    out: &mut [f32],
    stride: usize,
) {
    if m == 0 || k == 0 || n == 0 {
        return;
    }
    let last = |rows: usize, cols: usize, [s, t]: [usize; 2]| (rows - 1) * s + (cols - 1) * t;
    assert!(last(m, k, a.strides) < a.data.len(), "a is inside its data");
    assert!(last(k, n, b.strides) < b.data.len(), "b is inside its data");
    assert!(n <= stride || m == 1, "rows of the result are apart");
    assert!(
        last(m, n, [stride, 1]) < out.len(),
        "out is inside its data"
    );
    let [a_row, a_col] = a.strides.map(|s| s as isize);
    let [b_row, b_col] = b.strides.map(|s| s as isize);
    // SAFETY: the assertions keep every element that `gemm` touches inside the three slices, `out` is
    // borrowed exclusively, and its elements are distinct because rows do not overlap.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            true,
            a.data.as_ptr(),
            a_col,
            a_row,
            b.data.as_ptr(),
            b_col,
            b_row,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accumulates_into_rows_that_are_apart() {
        let a = Matrix {
            data: &[1.0, 2.0, 3.0, 4.0],
            strides: [2, 1],
        };
        // The transpose of [[5, 6], [7, 8]].
        let b = Matrix {
            data: &[5.0, 6.0, 7.0, 8.0],
            strides: [1, 2],
        };
        let mut out = [1.0, 1.0, -9.0, 1.0, 1.0];
        accumulate([2, 2, 2], a, b, &mut out, 3);
        assert_eq!(out, [18.0, 24.0, -9.0, 40.0, 54.0]);
    }
}
