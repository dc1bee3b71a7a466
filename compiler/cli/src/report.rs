//! Errors in the terminal: each problem with its node and its hint.

use std::fmt;
use std::io::IsTerminal;

use qcc_compiler::{Diagnostic, Error};

/// One problem as miette draws it.
#[derive(Debug)]
struct Problem(Diagnostic);

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.node {
            Some(node) => write!(f, "{node}: {}", self.0.message),
            None => write!(f, "{}", self.0.message),
        }
    }
}

impl std::error::Error for Problem {}

impl miette::Diagnostic for Problem {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let hint = self.0.hint.as_ref()?;
        Some(Box::new(hint))
    }
}

/// Lines are broken for people only: names stay whole where another program reads.
pub(crate) fn set_up() {
    let wrap = std::io::stderr().is_terminal();
    // Only a second call fails.
    let _ = miette::set_hook(Box::new(move |_| {
        Box::new(miette::MietteHandlerOpts::new().wrap_lines(wrap).build())
    }));
}

/// Prints all problems on stderr; neighbours with the same hint share it.
pub(crate) fn print(error: &Error) {
    let problems = &error.diagnostics;
    for (i, problem) in problems.iter().enumerate() {
        let mut problem = problem.clone();
        if problems
            .get(i + 1)
            .is_some_and(|next| next.hint == problem.hint)
        {
            problem.hint = None;
        }
        eprint!("{:?}", miette::Report::new(Problem(problem)));
    }
    if problems.len() > 1 {
        eprintln!("{} problems", problems.len());
    }
}

/// Ends the program as clap does where arguments contradict each other.
pub(crate) fn usage(message: &str) -> ! {
    clap::Command::new("qcc")
        .error(clap::error::ErrorKind::ValueValidation, message)
        .exit()
}
