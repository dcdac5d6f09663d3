//! Evaluates filters to bitmaps of ordinals.
