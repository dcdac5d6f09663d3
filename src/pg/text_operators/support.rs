//! The planner support function of `text @@@ text` and `text <@> text`: puts the index that the left operand belongs to
//! into the right one.

use super::bm25query::{self, Bm25Query};
use super::resolve;
use crate::error::{Error, Result};
use crate::pg::c_function::{self, Call, Returned, c_functions};
use crate::pg::heap_table;
use crate::pg::opclass::{MATCH_STRATEGY, ORDER_STRATEGY};
use pgrx::{PgList, pg_sys};

/// Answers null for "nothing to say": a null pointer, not SQL's NULL.
fn support(call: &mut Call) -> Returned {
    let request = call.datum(0)?.cast_mut_ptr::<pg_sys::Node>();
    // SAFETY: PostgreSQL passes a node.
    let tag = unsafe { (*request).type_ };
    let answer = if tag == pg_sys::NodeTag::T_SupportRequestSimplify {
        // SAFETY: the tag says so.
        let request = unsafe { &*request.cast::<pg_sys::SupportRequestSimplify>() };
        // SAFETY: the planner's own structures.
        unsafe { simplify(request) }?
    } else {
        std::ptr::null_mut()
    };
    Ok(Some(pg_sys::Datum::from(answer)))
}

/// # Safety
/// `request` must be one of the planner's, about a function of two arguments.
unsafe fn simplify(request: &pg_sys::SupportRequestSimplify) -> Result<*mut pg_sys::Node> {
    // SAFETY: the caller's contract.
    let call = unsafe { &*request.fcall };
    // SAFETY: a list of expressions.
    let arguments = unsafe { PgList::<pg_sys::Node>::from_pg(call.args) };
    let (Some(left), Some(right)) = (arguments.get_ptr(0), arguments.get_ptr(1)) else {
        return Ok(std::ptr::null_mut());
    };
    let scores = call.funcresulttype != pg_sys::BOOLOID;
    // SAFETY: the planner's structures.
    let Some((index, column)) = (unsafe { resolve::index_for(request.root, left, scores) })? else {
        return Ok(std::ptr::null_mut());
    };
    let strategy = if scores { ORDER_STRATEGY } else { MATCH_STRATEGY };
    let query_type = bm25query::type_oid()?;
    // SAFETY: four keys of a system cache.
    let operator = unsafe { pg_sys::get_opfamily_member(index.family(column), pg_sys::TEXTOID, query_type, strategy) };
    if operator == pg_sys::InvalidOid {
        return Err(Error::internal(format!("the operator family of index \"{}\" is incomplete", index.name()))
            .with_hint("Run ALTER EXTENSION elacsym UPDATE."));
    }
    // SAFETY: a valid expression.
    let query = unsafe { bm25query_expression(right, index.oid(), column, query_type) }?;
    // SAFETY: two expressions of the operator's types.
    let clause = unsafe {
        pg_sys::make_opclause(
            operator,
            call.funcresulttype,
            false,
            left.cast(),
            query.cast(),
            pg_sys::InvalidOid,
            call.inputcollid,
        )
    };
    // SAFETY: an existing operator.
    let function = unsafe { pg_sys::get_opcode(operator) };
    // SAFETY: just made, an `OpExpr`.
    unsafe { (*clause.cast::<pg_sys::OpExpr>()).opfuncid = function };
    Ok(clause.cast())
}

/// The query as a `bm25query`: a constant for a constant, a call for anything else.
///
/// # Safety
/// `text` must be an expression of type `text`.
unsafe fn bm25query_expression(
    text: *mut pg_sys::Node,
    index: pg_sys::Oid,
    column: i16,
    query_type: pg_sys::Oid,
) -> Result<*mut pg_sys::Node> {
    // SAFETY: every node starts with its tag.
    if unsafe { (*text).type_ } == pg_sys::NodeTag::T_Const {
        // SAFETY: the tag says so.
        let constant = unsafe { &*text.cast::<pg_sys::Const>() };
        if !constant.constisnull {
            // SAFETY: a constant of type `text`.
            let query = unsafe { c_function::text(constant.constvalue) }?;
            let value = Bm25Query { index, column, query }.datum()?;
            // SAFETY: a value of the type, which is passed by reference and has variable length.
            return Ok(unsafe { make_const(query_type, -1, value, false) });
        }
    }
    // SAFETY: an oid passed by value.
    let index = unsafe { make_const(pg_sys::REGCLASSOID, 4, pg_sys::Datum::from(index), true) };
    // SAFETY: an integer passed by value.
    let column = unsafe { make_const(pg_sys::INT4OID, 4, pg_sys::Datum::from(i32::from(column)), true) };
    let mut arguments = PgList::<pg_sys::Node>::new();
    arguments.push(text);
    arguments.push(index);
    arguments.push(column);
    let function = bm25query_function()?;
    // SAFETY: arguments of the function's types. The form of an implicit cast tells the function that the planner wrote
    // the call, and makes EXPLAIN show only the text.
    let call = unsafe {
        pg_sys::makeFuncExpr(
            function,
            query_type,
            arguments.into_pg(),
            pg_sys::InvalidOid,
            pg_sys::InvalidOid,
            pg_sys::CoercionForm::COERCE_IMPLICIT_CAST,
        )
    };
    Ok(call.cast())
}

/// The index and its column (from 1) that the right side of a text operator names, if the planner can see it.
///
/// # Safety
/// `query` must be an expression.
pub unsafe fn index_named_by(query: *mut pg_sys::Node) -> Option<(pg_sys::Oid, i16)> {
    // SAFETY: every node starts with its tag.
    match unsafe { (*query).type_ } {
        pg_sys::NodeTag::T_Const => {
            // SAFETY: the tag says so.
            let constant = unsafe { &*query.cast::<pg_sys::Const>() };
            if constant.constisnull || bm25query::type_oid().ok()? != constant.consttype {
                return None;
            }
            // SAFETY: a constant of the type.
            let query = unsafe { Bm25Query::read(constant.constvalue) }.ok()?;
            Some((query.index, query.column))
        }
        pg_sys::NodeTag::T_FuncExpr => {
            // SAFETY: the tag says so.
            let call = unsafe { &*query.cast::<pg_sys::FuncExpr>() };
            if bm25query_function().ok()? != call.funcid {
                return None;
            }
            // SAFETY: a list of expressions.
            let arguments = unsafe { PgList::<pg_sys::Node>::from_pg(call.args) };
            let constant = |n: usize| {
                let argument = arguments.get_ptr(n)?;
                // SAFETY: every node starts with its tag.
                if unsafe { (*argument).type_ } != pg_sys::NodeTag::T_Const {
                    return None;
                }
                // SAFETY: the tag says so.
                let constant = unsafe { &*argument.cast::<pg_sys::Const>() };
                (!constant.constisnull).then_some(constant.constvalue.value())
            };
            Some((pg_sys::Oid::from(constant(1)? as u32), i16::try_from(constant(2)?).ok()?))
        }
        _ => None,
    }
}

/// # Safety
/// `value` must be a value of the type, `length` and `by_value` the type's.
unsafe fn make_const(type_oid: pg_sys::Oid, length: i32, value: pg_sys::Datum, by_value: bool) -> *mut pg_sys::Node {
    // SAFETY: the caller's contract.
    unsafe { pg_sys::makeConst(type_oid, -1, pg_sys::InvalidOid, length, value, false, by_value) }.cast()
}

/// Oid of `elacsym.bm25query(text, regclass, integer)`.
fn bm25query_function() -> Result<pg_sys::Oid> {
    let mut name = PgList::<pg_sys::Node>::new();
    for part in [heap_table::SCHEMA, c"bm25query"] {
        // SAFETY: a C string, copied into the current memory context.
        let part = unsafe { pg_sys::pstrdup(part.as_ptr()) };
        // SAFETY: the string belongs to the node from here on.
        name.push(unsafe { pg_sys::makeString(part) }.cast());
    }
    let types = [pg_sys::TEXTOID, pg_sys::REGCLASSOID, pg_sys::INT4OID];
    // SAFETY: a qualified name and three types.
    let oid = unsafe { pg_sys::LookupFuncName(name.into_pg(), 3, types.as_ptr(), true) };
    if oid == pg_sys::InvalidOid {
        return Err(Error::internal("function elacsym.bm25query(text, regclass, integer) does not exist")
            .with_hint("Run ALTER EXTENSION elacsym UPDATE."));
    }
    Ok(oid)
}

c_functions! {
    /// Support function of the text operators.
    elacsym_text_operator_support = support;
}
