//! Values: constants of a model, and what the evaluators compute.

/// A dense row-major array.
#[derive(Clone, Debug, PartialEq)]
pub struct Array {
    /// Extent of each axis; a scalar has none.
    pub shape: Vec<usize>,
    /// `shape.iter().product()` elements.
    pub data: Data,
}

/// The elements of an [`Array`].
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// Reals. Every floating-point type of ONNX is evaluated in f32.
    F32(Vec<f32>),
    /// Integers of any width and booleans (0 and 1) that are not quantized reals.
    I64(Vec<i64>),
    /// The integers of a quantized tensor, or sums of their products.
    I32(Vec<i32>),
}

impl Array {
    /// Reals of the given shape.
    pub fn f32(shape: impl Into<Vec<usize>>, data: Vec<f32>) -> Array {
        Array::new(shape.into(), Data::F32(data))
    }

    /// Plain integers of the given shape.
    pub fn i64(shape: impl Into<Vec<usize>>, data: Vec<i64>) -> Array {
        Array::new(shape.into(), Data::I64(data))
    }

    /// Quantized integers of the given shape.
    pub fn i32(shape: impl Into<Vec<usize>>, data: Vec<i32>) -> Array {
        Array::new(shape.into(), Data::I32(data))
    }

    fn new(shape: Vec<usize>, data: Data) -> Array {
        let array = Array { shape, data };
        assert_eq!(
            array.shape.iter().product::<usize>(),
            array.len(),
            "shape and data agree"
        );
        array
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        match &self.data {
            Data::F32(v) => v.len(),
            Data::I64(v) => v.len(),
            Data::I32(v) => v.len(),
        }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The reals. Panics where the element type, which `verify` checks, says otherwise.
    pub fn reals(&self) -> &[f32] {
        match &self.data {
            Data::F32(v) => v,
            other => panic!("reals expected, found {}", other.kind()),
        }
    }

    /// The plain integers. Panics where the element type says otherwise.
    pub fn ints(&self) -> &[i64] {
        match &self.data {
            Data::I64(v) => v,
            other => panic!("integers expected, found {}", other.kind()),
        }
    }

    /// The quantized integers. Panics where the element type says otherwise.
    pub fn quantized(&self) -> &[i32] {
        match &self.data {
            Data::I32(v) => v,
            other => panic!("quantized integers expected, found {}", other.kind()),
        }
    }

    /// The same elements under another shape of the same size.
    pub fn reshaped(mut self, shape: impl Into<Vec<usize>>) -> Array {
        self.shape = shape.into();
        assert_eq!(
            self.shape.iter().product::<usize>(),
            self.len(),
            "a reshape keeps the size"
        );
        self
    }

    /// Row-major strides, in elements.
    pub fn strides(&self) -> Vec<usize> {
        strides(&self.shape)
    }

    /// Gathers elements by flat index, whatever their type.
    pub fn pick(
        &self,
        shape: impl Into<Vec<usize>>,
        indices: impl Iterator<Item = usize>,
    ) -> Array {
        let data = match &self.data {
            Data::F32(v) => Data::F32(indices.map(|i| v[i]).collect()),
            Data::I64(v) => Data::I64(indices.map(|i| v[i]).collect()),
            Data::I32(v) => Data::I32(indices.map(|i| v[i]).collect()),
        };
        Array::new(shape.into(), data)
    }
}

impl Data {
    fn kind(&self) -> &'static str {
        match self {
            Data::F32(_) => "reals",
            Data::I64(_) => "integers",
            Data::I32(_) => "quantized integers",
        }
    }
}

/// Row-major strides of a shape, in elements.
pub(crate) fn strides(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}
