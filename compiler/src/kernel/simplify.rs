//! Kernels as a person would write them: no loop of one turn, each index a sum of products and a number.

use std::collections::HashSet;

use crate::kernel::{Expr, Kernel, Stmt};

/// A kernel that does the same in fewer words.
pub fn simplified(kernel: &Kernel) -> Kernel {
    Kernel {
        body: block(&kernel.body),
        ..kernel.clone()
    }
}

fn block(body: &[Stmt]) -> Vec<Stmt> {
    let mut taken: HashSet<String> = names(body);
    let mut out = vec![];
    for stmt in body {
        let Stmt::For {
            var,
            start,
            end,
            step,
            body,
        } = stmt
        else {
            out.push(with_expr(stmt, &normal));
            continue;
        };
        if let (Expr::Int(first), Expr::Int(end)) = (start, end)
            && first < end
            && first + step >= *end
        {
            let turn = block(&substituted(body, var, *first));
            let defined = names(&turn);
            // C does not let two values of one scope share a name.
            if taken.is_disjoint(&defined) {
                taken.extend(defined);
                out.extend(turn);
                continue;
            }
        }
        out.push(Stmt::For {
            var: var.clone(),
            start: normal(start),
            end: normal(end),
            step: *step,
            body: block(body),
        });
    }
    out
}

/// What a block defines in its own scope.
fn names(body: &[Stmt]) -> HashSet<String> {
    let names = body.iter().filter_map(|stmt| match stmt {
        Stmt::Let { name, .. } => Some(name.clone()),
        _ => None,
    });
    names.collect()
}

/// The statement with its own expression replaced; bodies of loops stay.
fn with_expr(stmt: &Stmt, f: &dyn Fn(&Expr) -> Expr) -> Stmt {
    let mut stmt = stmt.clone();
    match &mut stmt {
        Stmt::Let { value, .. } | Stmt::Set { value, .. } | Stmt::Do(value) => *value = f(value),
        Stmt::For { .. } | Stmt::Note(_) => {}
    }
    stmt
}

fn substituted(body: &[Stmt], counter: &str, value: i64) -> Vec<Stmt> {
    let replace = |expr: &Expr| substitute(expr, counter, value);
    let stmts = body.iter().map(|stmt| match stmt {
        Stmt::For {
            var,
            start,
            end,
            step,
            body,
        } if var != counter => Stmt::For {
            var: var.clone(),
            start: replace(start),
            end: replace(end),
            step: *step,
            body: substituted(body, counter, value),
        },
        stmt => with_expr(stmt, &replace),
    });
    stmts.collect()
}

fn substitute(expr: &Expr, counter: &str, value: i64) -> Expr {
    let again = |e: &Expr| substitute(e, counter, value);
    match expr {
        Expr::Var(name) if name == counter => Expr::Int(value),
        Expr::Int(_) | Expr::Var(_) | Expr::Share { .. } | Expr::Part => expr.clone(),
        Expr::Add(a, b) => again(a) + again(b),
        Expr::Mul(a, b) => again(a) * *b,
        Expr::At(buffer, index) => Expr::At(buffer.clone(), Box::new(again(index))),
        Expr::Op(name, args) => Expr::Op(name, args.iter().map(again).collect()),
    }
}

/// Indices as `a * 3 + b + 7`: each variable once, in order of appearance, and one number.
fn normal(expr: &Expr) -> Expr {
    match expr {
        Expr::Int(_) | Expr::Var(_) | Expr::Share { .. } | Expr::Part => expr.clone(),
        Expr::At(buffer, index) => Expr::At(buffer.clone(), Box::new(normal(index))),
        // Builders add a zero point without asking whether it is 0.
        Expr::Op("add", args) if args[1] == Expr::Int(0) => normal(&args[0]),
        Expr::Op(name, args) => Expr::Op(name, args.iter().map(normal).collect()),
        Expr::Add(..) | Expr::Mul(..) => {
            let (mut terms, mut number) = (vec![], 0);
            gather(expr, 1, &mut terms, &mut number);
            terms.retain(|(_, factor)| *factor != 0);
            let products = terms.into_iter().map(|(term, factor)| term * factor);
            match products.reduce(|sum, product| sum + product) {
                Some(sum) => sum + Expr::Int(number),
                None => Expr::Int(number),
            }
        }
    }
}

fn gather(expr: &Expr, factor: i64, terms: &mut Vec<(Expr, i64)>, number: &mut i64) {
    match expr {
        Expr::Int(value) => *number += factor * value,
        Expr::Add(a, b) => {
            gather(a, factor, terms, number);
            gather(b, factor, terms, number);
        }
        Expr::Mul(a, b) => gather(a, factor * b, terms, number),
        other => {
            let term = normal(other);
            match terms.iter_mut().find(|(known, _)| *known == term) {
                Some((_, sum)) => *sum += factor,
                None => terms.push((term, factor)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::{at, int, op, var};

    fn kernel(body: Vec<Stmt>) -> Kernel {
        Kernel {
            name: "k".into(),
            comment: vec![],
            buffers: vec![],
            constants: vec![],
            body,
        }
    }

    fn once(var: &str, body: Vec<Stmt>) -> Stmt {
        Stmt::For {
            var: var.into(),
            start: int(2),
            end: int(3),
            step: 1,
            body,
        }
    }

    fn read(index: Expr) -> Stmt {
        Stmt::Let {
            name: "v".into(),
            ty: "i32",
            mutable: false,
            value: op("read_u8", [at("x", index)]),
        }
    }

    #[test]
    fn a_loop_of_one_turn_is_its_body_with_numbers_at_the_end() {
        let index = var("n") * 100 + int(3) + (var("i") + int(1)) * 4 + var("i");
        let body = simplified(&kernel(vec![once("n", vec![read(index)])])).body;
        assert_eq!(body, [read(var("i") * 5 + int(207))]);
    }

    #[test]
    fn loops_that_define_the_same_name_keep_their_scopes() {
        let loops = vec![
            once("n", vec![read(var("n"))]),
            once("n", vec![read(var("n"))]),
        ];
        let body = simplified(&kernel(loops)).body;
        assert_eq!(body[0], read(int(2)));
        assert!(matches!(body[1], Stmt::For { .. }));
    }
}
