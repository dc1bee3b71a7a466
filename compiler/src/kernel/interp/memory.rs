//! The memory of a running program, with every access checked.

use crate::kernel::Program;

/// What nothing has written yet.
const ARBITRARY: u8 = 0xa5;

/// A part of memory that no access may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Region {
    Arena,
    Input(usize),
    Output(usize),
    Constant(usize),
}

/// A place in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pub(super) region: Region,
    pub(super) byte: i64,
    /// Bytes of an element of the buffer that the address points into.
    pub(super) element: i64,
}

/// Everything a program can touch.
pub(super) struct Memory {
    arena: Vec<u8>,
    inputs: Vec<Vec<u8>>,
    outputs: Vec<Vec<u8>>,
    constants: Vec<Vec<u8>>,
    /// The running kernel, for messages.
    pub(super) kernel: String,
    /// The running operation, for messages.
    pub(super) operation: &'static str,
    /// The running part of the call.
    pub(super) part: usize,
    /// What the parts of the call have done to each byte of the arena and the outputs; empty where there is one.
    touched: Vec<Vec<Touched>>,
}

/// Which parts of a call have touched a byte.
#[derive(Clone, Copy, Debug, Default)]
struct Touched {
    /// The part that wrote it.
    writer: Option<usize>,
    /// A part that read it.
    reader: Option<usize>,
    /// Whether several did.
    readers: bool,
}

impl Memory {
    pub(super) fn new(program: &Program, inputs: &[Vec<u8>]) -> Memory {
        for (port, bytes) in program.inputs.iter().zip(inputs) {
            let expected = port.ty.len() * port.scalar.bytes();
            assert_eq!(
                bytes.len(),
                expected,
                "input `{}` has the bytes of its type",
                port.name
            );
        }
        assert_eq!(inputs.len(), program.inputs.len(), "each input is given");
        let outputs = program
            .outputs
            .iter()
            .map(|p| vec![ARBITRARY; p.ty.len() * p.scalar.bytes()]);
        Memory {
            arena: vec![ARBITRARY; program.arena_bytes],
            inputs: inputs.to_vec(),
            outputs: outputs.collect(),
            constants: program.constants.iter().map(|c| c.bytes.clone()).collect(),
            kernel: String::new(),
            operation: "",
            part: 0,
            touched: vec![],
        }
    }

    /// Begins a call of so many parts.
    pub(super) fn begin(&mut self, parts: usize) {
        let written = std::iter::once(&self.arena).chain(&self.outputs);
        self.touched = match parts {
            1 => vec![],
            _ => written.map(|r| vec![Touched::default(); r.len()]).collect(),
        };
    }

    /// Notes an access; one that another part's access forbids is a panic.
    fn touch(&mut self, at: Address, len: usize, writes: bool) {
        let index = match at.region {
            Region::Arena => 0,
            Region::Output(i) => i + 1,
            Region::Input(_) | Region::Constant(_) => return,
        };
        let Some(region) = self.touched.get_mut(index) else {
            return;
        };
        let part = self.part;
        for byte in &mut region[at.byte as usize..][..len] {
            let foreign = |other: Option<usize>| other.is_some_and(|other| other != part);
            let read = foreign(byte.reader) || byte.readers;
            assert!(
                !(foreign(byte.writer) || writes && read),
                "{}: {} of part {part} at {} of {:?} touches what another part does",
                self.kernel,
                self.operation,
                at.byte,
                at.region
            );
            if writes {
                byte.writer = Some(part);
            } else {
                byte.readers |= foreign(byte.reader);
                byte.reader = Some(part);
            }
        }
    }

    pub(super) fn outputs(self) -> Vec<Vec<u8>> {
        self.outputs
    }

    fn region(&mut self, region: Region) -> &mut Vec<u8> {
        match region {
            Region::Arena => &mut self.arena,
            Region::Input(i) => &mut self.inputs[i],
            Region::Output(i) => &mut self.outputs[i],
            Region::Constant(i) => &mut self.constants[i],
        }
    }

    fn place(&mut self, at: Address, len: usize, writes: bool) -> &mut [u8] {
        let size = self.region(at.region).len();
        let inside = at.byte >= 0 && at.byte as usize + len <= size;
        assert!(
            inside,
            "{}: {} touches {len} bytes at {} of {:?}, which has {size}",
            self.kernel, self.operation, at.byte, at.region
        );
        self.touch(at, len, writes);
        &mut self.region(at.region)[at.byte as usize..][..len]
    }

    /// The bytes at an address.
    pub(super) fn read(&mut self, at: Address, len: usize) -> &[u8] {
        self.place(at, len, false)
    }

    /// Bytes at an address that is a multiple of their number.
    pub(super) fn read_aligned(&mut self, at: Address, len: usize) -> &[u8] {
        assert_eq!(
            at.byte % len as i64,
            0,
            "{}: {} at an odd address",
            self.kernel,
            self.operation
        );
        self.read(at, len)
    }

    /// 32-bit numbers at an address aligned for them.
    pub(super) fn read_words(&mut self, at: Address, len: usize) -> Vec<u32> {
        assert_eq!(
            at.byte % 4,
            0,
            "{}: {} at an odd address",
            self.kernel,
            self.operation
        );
        let bytes = self.place(at, len * 4, false);
        let (words, _) = bytes.as_chunks::<4>();
        words.iter().map(|word| u32::from_le_bytes(*word)).collect()
    }

    /// Replaces the bytes at an address; inputs and constants are read-only.
    pub(super) fn write(&mut self, at: Address, bytes: &[u8]) {
        let writable = matches!(at.region, Region::Arena | Region::Output(_));
        assert!(
            writable,
            "{}: {} writes {:?}",
            self.kernel, self.operation, at.region
        );
        self.place(at, bytes.len(), true).copy_from_slice(bytes);
    }
}
