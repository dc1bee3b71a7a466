//! A machine: its vectors and tiles, and how it spells the types and operations of Kernel IR.
//!
//! `targets/README.md` lists the vocabulary and explains the files.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Result;
use crate::bail;
use crate::embedded::TARGETS;

/// A machine, with everything that it inherits.
#[derive(Clone, Debug)]
pub struct Target {
    /// As the user names it.
    pub name: String,
    /// One line for lists of machines.
    pub description: String,
    /// The languages that its rows are spelled in.
    pub languages: Vec<Language>,
    /// i32 or f32 elements of a vector.
    pub lanes: usize,
    /// 8-bit elements of a byte vector; a multiple of `lanes`.
    pub bytes: usize,
    /// Alignment of the arena and of constants, in bytes.
    pub align: usize,
    /// The product that GEMM is built on.
    pub dot: Dot,
    /// The product that depthwise convolution is built on.
    pub depthwise: Depthwise,
    /// The tile of sums in floating point.
    pub reals: Reals,
    /// What C needs.
    pub c: C,
    /// What Rust needs.
    pub rust: Rust,
    /// What runs its programs where the processor lacks its instructions, if there is something.
    pub emulator: Option<Emulator>,
    types: BTreeMap<String, Spelling>,
    ops: BTreeMap<String, Spelling>,
    prelude: BTreeMap<String, Snippet>,
}

/// `acc[lane] += Σ a[k] · b[lane][k]`, and the tile of accumulators that fits the registers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dot {
    /// Accumulators of one `dot`.
    pub lanes: usize,
    /// Products added to an accumulator by one `dot`.
    pub k: usize,
    /// Rows of a tile, each with its own `a`.
    pub rows: usize,
    /// Vectors of `lanes` columns in a tile.
    pub cols: usize,
    /// What `load_a_u8` adds to an activation so that it fits the instruction.
    #[serde(default)]
    pub offset_u8: i32,
    /// What `load_a_i8` adds to an activation so that it fits the instruction.
    #[serde(default)]
    pub offset_i8: i32,
    /// Whether weights are stored plus 128: `dot` multiplies those, and `add_raised` sums what is too much.
    #[serde(default)]
    pub raised: bool,
    /// Whether a product that reads each activation often gains from their magnitudes, computed once
    /// (`dot_magnitude`).
    #[serde(default)]
    pub magnitudes: bool,
    /// What Winograd's convolution costs beside this product; without it, it is not used.
    pub winograd: Option<Winograd>,
    /// The tile of chains of sums in 16 bits; without it, every sum has 32.
    pub chains: Option<Chains>,
    /// Products of windows that are copied first; without them, all are read in place.
    pub copied: Option<Copied>,
    /// What finishing a vector of sums costs in products; with it, few channels of several pixels share a vector.
    pub finish: Option<usize>,
    /// A product of several pixels or with several sums a channel; without it, there is only the one above.
    pub block: Option<Block>,
}

/// A product whose sums, in one vector, belong to several pixels and channels (`dot_block`). It takes a byte vector of
/// weights; where pixels and channels are fewer than lanes, a sum has several parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Block {
    /// Pixels, one or two.
    pub pixels: usize,
    /// Channels.
    pub channels: usize,
    /// Products added for a pixel and a channel.
    pub k: usize,
    /// Pixels of a tile.
    pub rows: usize,
    /// Vectors of `lanes` channels of a tile.
    pub cols: usize,
}

/// The tile of products of windows that are copied, widened to 16 bits, and meet two channels at once (`dot_two`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Copied {
    /// Rows of a tile, each with its own window.
    pub rows: usize,
}

/// The sums of a tile whose products are added in 16 bits first (`add_pairs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Chains {
    /// Rows of a tile, each with its own activations.
    pub rows: usize,
    /// Vectors of columns in a tile.
    pub cols: usize,
}

/// Costs of Winograd's convolution, each in products of `dot`; a product of its own counts as one of those.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Winograd {
    /// Of transforming a filter of one input and one output channel.
    pub filter: u64,
    /// Of transforming a tile of one input channel.
    pub tile: u64,
    /// Of the results of a tile in one output channel.
    pub results: u64,
}

/// `acc[lane] += Σ a[lane][tap] · w[lane][tap]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Depthwise {
    /// Taps multiplied by one `dot_taps`.
    pub taps: usize,
    /// Results of a tile, each a sum of a vector; without it, half the sums of a tile of `dot`.
    pub rows: Option<usize>,
}

/// The sums of products of reals that fit the registers, and hide the latency of a sum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reals {
    /// Rows of a tile.
    pub rows: usize,
    /// Vectors of `lanes` columns in a tile.
    pub cols: usize,
}

/// What a C compiler is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct C {
    /// Command-line flags.
    #[serde(default)]
    pub flags: Vec<String>,
    /// What gcc alone is told about optimization, in the file itself.
    #[serde(default)]
    pub gcc: Vec<String>,
    /// A macro that is defined when the flags are given.
    pub requires: Option<String>,
    /// The address space of constants, where they have one of their own.
    pub constants: Option<String>,
    /// Warnings that gcc gives for no reason, each with what the file says of it.
    #[serde(default)]
    pub ignore: BTreeMap<String, String>,
    /// Headers, each with the beginnings of the identifiers that need it.
    #[serde(default)]
    pub includes: BTreeMap<String, Vec<String>>,
}

/// What rustc is told.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rust {
    /// Target features.
    #[serde(default)]
    pub features: Vec<String>,
    /// Paths to `use`, each with the beginnings of the identifiers that need it.
    #[serde(default)]
    pub uses: BTreeMap<String, Vec<String>>,
}

/// How programs run on a machine that lacks the target's instructions.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Emulator {
    /// For reports.
    pub name: String,
    /// Debian's package that has it.
    pub package: String,
    /// Commands that compile C for it, with their options; those of this machine where there are none.
    #[serde(default)]
    pub compilers: Vec<String>,
    /// Levels of optimisation; the lowest and the highest where there are none.
    #[serde(default)]
    pub levels: Vec<String>,
    /// Options with which rustc compiles for it; it does not where there are none.
    #[serde(default)]
    pub rust: Vec<String>,
    /// Command-line flags in place of those of `[c]`.
    #[serde(default)]
    pub flags: Vec<String>,
    /// Files of `codegen-templates` that are put beside a program.
    #[serde(default)]
    pub files: Vec<String>,
    /// Whether programs have no operating system; what they have in its place is in one of the files for each language.
    #[serde(default)]
    pub freestanding: bool,
    /// The command that runs a program, which is its last argument; none where it runs by itself.
    #[serde(default)]
    pub run: Vec<String>,
    /// What it has room for, where that is little.
    pub memory: Option<Memory>,
    /// What is compiled to run programs, if no command does; `run` has its arguments.
    pub simulator: Option<Simulator>,
    /// What it counts, if it is a QEMU or a simulator.
    pub counts: Option<Counts>,
}

/// Bytes of a machine's memories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Of code and constants.
    pub code: usize,
    /// Of data and the stack.
    pub data: usize,
}

/// A program in C for this machine that runs those of another.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Simulator {
    /// A file of `codegen-templates`.
    pub file: String,
    /// Libraries that it is linked with.
    pub libraries: Vec<String>,
}

/// What an emulator counts while it runs a program.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// What a program consists of or takes, in the plural: instructions, packets or cycles.
    pub unit: String,
    /// Instructions that multiply integers and add up: beginnings of their names, or the value and the mask of their
    /// words, of 8 hexadecimal digits each: `0e809400/9fe0fc00`.
    pub products: Vec<String>,
}

/// A language that kernels are printed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// C99.
    C,
    /// Rust, edition 2024.
    Rust,
}

impl Language {
    /// All of them.
    pub const ALL: [Language; 2] = [Language::C, Language::Rust];

    /// For reports.
    pub fn name(self) -> &'static str {
        match self {
            Language::C => "C",
            Language::Rust => "Rust",
        }
    }
}

/// One text for both languages, or one for each.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Spelling {
    Same(String),
    Each { c: String, rust: String },
}

/// A function that rows call; a language that needs none has no text.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Snippet {
    #[serde(default)]
    c: String,
    #[serde(default)]
    rust: String,
}

/// A file in `targets/`; what is absent is the parent's.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    description: String,
    inherits: Option<String>,
    languages: Option<Vec<Language>>,
    lanes: Option<usize>,
    bytes: Option<usize>,
    align: Option<usize>,
    dot: Option<Dot>,
    depthwise: Option<Depthwise>,
    reals: Option<Reals>,
    #[serde(default)]
    c: C,
    #[serde(default)]
    rust: Rust,
    emulator: Option<Emulator>,
    #[serde(default)]
    types: BTreeMap<String, Spelling>,
    #[serde(default)]
    ops: BTreeMap<String, Spelling>,
    #[serde(default)]
    prelude: BTreeMap<String, Snippet>,
}

/// Every machine's name, sorted.
pub fn names() -> Vec<&'static str> {
    TARGETS.iter().map(|(name, _)| *name).collect()
}

impl Target {
    /// The machine of that name.
    pub fn load(name: &str) -> Result<Target> {
        let Some((_, text)) = TARGETS.iter().find(|(n, _)| *n == name) else {
            let known = names().join(", ");
            bail!("there is no target `{name}`"; hint: "known targets: {known}");
        };
        Target::parse(text).map_err(|e| e.at(&format!("targets/{name}.toml")))
    }

    /// The machine that a file describes; its parent is one of the embedded files.
    pub fn parse(text: &str) -> Result<Target> {
        let file: File = match toml::from_str(text) {
            Ok(file) => file,
            Err(error) => bail!("{}", error.to_string().trim_end()),
        };
        match &file.inherits {
            Some(parent) => Ok(Target::load(parent)?.refined(file)),
            None => Target::root(file),
        }
    }

    fn root(file: File) -> Result<Target> {
        let (Some(lanes), Some(bytes), Some(align)) = (file.lanes, file.bytes, file.align) else {
            bail!("a target without parent needs lanes, bytes and align");
        };
        let (Some(dot), Some(depthwise), Some(reals)) = (file.dot, file.depthwise, file.reals)
        else {
            bail!("a target without parent needs dot, depthwise and reals");
        };
        let mut prelude = file.prelude;
        for (name, text) in RUNTIME_SUPPORT.iter().flat_map(|text| functions(text)) {
            prelude.entry(name).or_default().rust = text;
        }
        Ok(Target {
            name: file.name,
            description: file.description,
            languages: file.languages.unwrap_or(Language::ALL.to_vec()),
            lanes,
            bytes,
            align,
            dot,
            depthwise,
            reals,
            c: file.c,
            rust: file.rust,
            emulator: file.emulator,
            types: file.types,
            ops: file.ops,
            prelude,
        })
    }

    fn refined(mut self, file: File) -> Target {
        self.name = file.name;
        self.description = file.description;
        self.languages = file.languages.unwrap_or(self.languages);
        self.lanes = file.lanes.unwrap_or(self.lanes);
        self.bytes = file.bytes.unwrap_or(self.bytes);
        self.align = file.align.unwrap_or(self.align);
        self.dot = file.dot.unwrap_or(self.dot);
        self.depthwise = file.depthwise.unwrap_or(self.depthwise);
        self.reals = file.reals.unwrap_or(self.reals);
        // An option with a value has one: `-march=...`.
        let option = |flag: &String| flag.split_once('=').map(|(name, _)| name.to_string());
        let replaced: Vec<_> = file.c.flags.iter().filter_map(option).collect();
        self.c
            .flags
            .retain(|flag| option(flag).is_none_or(|name| !replaced.contains(&name)));
        self.c.flags.extend(file.c.flags);
        self.c.gcc.extend(file.c.gcc);
        self.c.requires = file.c.requires.or(self.c.requires);
        self.c.constants = file.c.constants.or(self.c.constants);
        self.c.ignore.extend(file.c.ignore);
        self.c.includes.extend(file.c.includes);
        self.rust.features.extend(file.rust.features);
        self.rust.uses.extend(file.rust.uses);
        self.emulator = file.emulator.or(self.emulator);
        self.types.extend(file.types);
        self.ops.extend(file.ops);
        self.ops.retain(|_, row| !row.text(Language::C).is_empty());
        self.prelude.extend(file.prelude);
        self
    }

    /// Whether files of that language can be printed for it.
    ///
    /// # Errors
    ///
    /// The machine has no rows in that language.
    pub fn speaks(&self, language: Language) -> Result<()> {
        if !self.languages.contains(&language) {
            let known: Vec<_> = self.languages.iter().map(|l| l.name()).collect();
            bail!("there is no {} for {}", language.name(), self.name;
                hint: "there is {}", known.join(" and "));
        }
        Ok(())
    }

    /// Whether its programs have no operating system.
    pub fn is_freestanding(&self) -> bool {
        self.emulator.as_ref().is_some_and(|e| e.freestanding)
    }

    /// Whether the machine spells an operation.
    pub fn has(&self, op: &str) -> bool {
        self.ops.contains_key(op)
    }

    /// Whether the machine scales integers without reals where that is proven to be equal.
    pub fn scales_integers(&self) -> bool {
        self.has("scale_even") || self.has("scale_shared")
    }

    /// The names of the operations that the machine spells, sorted.
    pub fn operations(&self) -> impl Iterator<Item = &str> {
        self.ops.keys().map(String::as_str)
    }

    /// How an operation is spelled; holes are explained in `targets/README.md`.
    pub fn operation(&self, name: &str, language: Language) -> Option<&str> {
        self.ops.get(name).map(|row| row.text(language))
    }

    /// The instructions that an operation is spelled with in C: the intrinsics of its row and of its snippets but for
    /// casts and constants, and the lines of assembly, at least one.
    pub fn instructions(&self, op: &str) -> u64 {
        let row = self.operation(op, Language::C).unwrap_or_default();
        let snippets = self.snippets([op], Language::C);
        let texts = || [row].into_iter().chain(snippets.iter().copied());
        let words = texts().flat_map(identifiers);
        let none = [
            "cast",
            "_set1_",
            "_setzero_",
            "_setr_",
            "_undefined_",
            "vdup",
            "vreinterpret",
            "vget_",
            "vcreate",
            "vcombine",
        ];
        let intrinsics = words.filter(|w| is_intrinsic(w) && !none.iter().any(|n| w.contains(n)));
        let assembly: usize = texts().map(lines_of_assembly).sum();
        ((intrinsics.count() + assembly) as u64).max(1)
    }

    /// How a type is spelled.
    pub fn ty(&self, name: &str, language: Language) -> Option<&str> {
        self.types.get(name).map(|row| row.text(language))
    }

    /// The snippets that rows of the given names mention and those that they mention, each after what it
    /// needs.
    pub fn snippets<'o>(
        &self,
        ops: impl IntoIterator<Item = &'o str>,
        language: Language,
    ) -> Vec<&str> {
        let mut names = Vec::new();
        for op in ops {
            let row = self.operation(op, language).unwrap_or_default();
            self.gather(row, language, "", &mut names);
        }
        names
            .into_iter()
            .map(|name| self.prelude[name].text(language))
            .collect()
    }

    /// Names that functions of a printed file must not have.
    pub fn snippet_names(&self) -> impl Iterator<Item = &str> {
        self.prelude.keys().map(String::as_str)
    }

    /// Adds the snippets that the text of snippet `own` mentions.
    fn gather<'a>(&'a self, text: &str, language: Language, own: &str, names: &mut Vec<&'a str>) {
        for word in identifiers(text).filter(|word| *word != own) {
            let Some((name, snippet)) = self.prelude.get_key_value(word) else {
                continue;
            };
            let snippet = snippet.text(language);
            // A value may be called as a function is: only what is followed by a parenthesis is a call.
            let mentioned = snippet.contains("typedef") || is_called(text, word);
            if mentioned && !snippet.is_empty() && !names.contains(&name.as_str()) {
                self.gather(snippet, language, name, names);
                names.push(name);
            }
        }
    }
}

impl Spelling {
    fn text(&self, language: Language) -> &str {
        match (self, language) {
            (Spelling::Same(text), _) => text,
            (Spelling::Each { c, .. }, Language::C) => c,
            (Spelling::Each { rust, .. }, Language::Rust) => rust,
        }
    }
}

impl Snippet {
    fn text(&self, language: Language) -> &str {
        match language {
            Language::C => self.c.trim_matches('\n'),
            Language::Rust => self.rust.trim_matches('\n'),
        }
    }
}

/// The words of a text that could be identifiers.
pub(crate) fn identifiers(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .filter(|word| !word.is_empty())
}

/// Instructions in the `__asm__` of a text of C.
fn lines_of_assembly(text: &str) -> usize {
    let statements = text.split("__asm__").skip(1);
    let lines = statements.map(|rest| {
        // The strings before the operands: every other part between quotes.
        let mut parts = rest.split('"');
        let mut code = String::new();
        while let (Some(outside), Some(inside)) = (parts.next(), parts.next()) {
            if outside.contains(':') {
                break;
            }
            code += inside;
        }
        let lines = code.split("\\n").map(|line| line.trim_start_matches("\\t"));
        lines.filter(|line| !line.trim().is_empty()).count()
    });
    lines.sum()
}

/// Whether a word is an instruction of x86 (`_mm256_add_epi32`) or of ARM (`vaddq_s32`, `__smlad`).
fn is_intrinsic(word: &str) -> bool {
    let element = word.rsplit('_').next().unwrap_or_default();
    let arm = word.starts_with('v') && element.starts_with(['s', 'u', 'f']);
    let pairs = ["__smla", "__sxtb", "__uxtb", "__sadd", "__ssat", "__usat"];
    word.starts_with("_mm")
        || (arm && element[1..].parse::<u8>().is_ok())
        || pairs.iter().any(|begin| word.starts_with(begin))
}

/// Whether a text calls a function of that name.
fn is_called(text: &str, name: &str) -> bool {
    let part_of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.match_indices(name).any(|(at, _)| {
        let after = &text[at + name.len()..];
        !text[..at].ends_with(part_of_word) && (after.starts_with('(') || after.starts_with("::<"))
    })
}

/// Integer arithmetic that a machine without floating point runs; its functions are snippets.
const RUNTIME_SUPPORT: [&str; 2] = [
    include_str!("../../runtime-support/src/integer.rs"),
    include_str!("../../runtime-support/src/fixed.rs"),
];

/// The top-level functions of a Rust file, each with its documentation and as a private function.
fn functions(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut docs = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let private = line.strip_prefix("pub ").unwrap_or(line);
        if line.starts_with("///") {
            docs += line;
            docs.push('\n');
        } else if let Some(rest) = private.strip_prefix("fn ") {
            let name = identifiers(rest).next().expect("a function has a name");
            let body = lines.by_ref().take_while(|line| *line != "}");
            let body: String = body.map(|line| format!("{line}\n")).collect();
            found.push((name.to_string(), format!("{docs}{private}\n{body}}}")));
            docs.clear();
        } else {
            docs.clear();
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_asks_for_nothing_twice() {
        for name in names() {
            let target = Target::load(name).unwrap();
            let options = target
                .c
                .flags
                .iter()
                .map(|flag| flag.split('=').next().unwrap());
            let words: Vec<_> = target.rust.features.iter().map(String::as_str).collect();
            for asked in [words, options.collect()] {
                let different: std::collections::BTreeSet<_> = asked.iter().collect();
                assert_eq!(different.len(), asked.len(), "{name}: {asked:?}");
            }
        }
    }

    #[test]
    fn instructions_are_intrinsics_and_lines_of_assembly() {
        let count = |target: &str, op| Target::load(target).unwrap().instructions(op);
        // Four vmladav, two vmov, and an addition; one sdot.
        assert_eq!(count("cortex-m55", "dot"), 7);
        assert_eq!(count("aarch64-neon-dotprod", "dot"), 1);
        // Four smlad, two sxtb16.
        assert_eq!(count("cortex-m4", "dot_two"), 6);
    }

    #[test]
    fn every_file_loads_under_its_own_name() {
        for name in names() {
            assert_eq!(Target::load(name).unwrap().name, name);
        }
        let error = Target::load("pdp11").unwrap_err();
        assert!(error.to_string().contains("generic"), "{error}");
    }

    #[test]
    fn snippets_follow_what_they_need_and_nothing_else_is_emitted() {
        let text = r#"
            name = "m"
            description = "m"
            inherits = "generic"
            [ops]
            twice = "outer() + outer()"
            [prelude.outer]
            c = "int outer(void) { return inner(); }"
            [prelude.inner]
            c = "int inner(int other) { return other_one(other); }"
            [prelude.other]
            c = "int other(void) { return 2; }"
        "#;
        let target = Target::parse(text).unwrap();
        let found = target.snippets(["twice"], Language::C);
        let expected = [
            "int inner(int other) { return other_one(other); }",
            "int outer(void) { return inner(); }",
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_misspelled_key_is_an_error() {
        let text = "name = \"m\"\ndescription = \"m\"\ninherits = \"generic\"\nlines = 4\n";
        let error = Target::parse(text).unwrap_err();
        assert!(error.to_string().contains("lines"), "{error}");
    }
}
