//! Times as text, read by PostgreSQL itself: its formats, its time zone, its errors.

use crate::error::{Error, ErrorKind, Result};
use crate::rank::Times;
use pgrx::{IntoDatum, pg_sys};
use std::ffi::CString;

/// Seconds from 1970 to PostgreSQL's year zero, 2000.
const POSTGRES_EPOCH: i64 = 946_684_800;
const MICROSECONDS: f64 = 1e6;
const SECONDS_OF_DAY: f64 = 86_400.0;
/// As `EXTRACT(epoch FROM interval)` counts a month and a year.
const DAYS_OF_MONTH: f64 = 30.0;
const DAYS_OF_YEAR: f64 = 365.25;
const MONTHS_OF_YEAR: i32 = 12;

/// The session's way to read times.
pub struct SqlTimes;

impl Times for SqlTimes {
    fn moment(&self, text: &str) -> Result<f64> {
        let microseconds = input(pg_sys::timestamptz_in, text)?.value() as i64;
        if microseconds == i64::MIN || microseconds == i64::MAX {
            return Err(Error::new(ErrorKind::OutOfRange, format!("time \"{text}\" is infinite")));
        }
        Ok(microseconds as f64 / MICROSECONDS + POSTGRES_EPOCH as f64)
    }

    fn length(&self, text: &str) -> Result<f64> {
        let datum = input(pg_sys::interval_in, text)?;
        // SAFETY: an interval is passed by reference; this one was just made.
        let interval = unsafe { &*datum.cast_mut_ptr::<pg_sys::Interval>() };
        let years = f64::from(interval.month / MONTHS_OF_YEAR) * DAYS_OF_YEAR;
        let months = f64::from(interval.month % MONTHS_OF_YEAR) * DAYS_OF_MONTH;
        let days = years + months + f64::from(interval.day);
        Ok(days * SECONDS_OF_DAY + interval.time as f64 / MICROSECONDS)
    }
}

type InputFunction = unsafe fn(pg_sys::FunctionCallInfo) -> pg_sys::Datum;

/// The value that an input function reads; it raises an error for text that is none.
fn input(function: InputFunction, text: &str) -> Result<pg_sys::Datum> {
    let text = CString::new(text).map_err(|_| Error::invalid("a time holds a zero byte"))?;
    let arguments = [Some(pg_sys::Datum::from(text.as_ptr())), pg_sys::InvalidOid.into_datum(), (-1_i32).into_datum()];
    // SAFETY: an input function: a C string, the type's element type and its modifier, both none.
    let value = unsafe { pgrx::direct_function_call_as_datum(function, &arguments) };
    value.ok_or_else(|| Error::internal("an input function returned null"))
}
