"""The paper's numbers as data, and recorded runs beside them."""
