"""A page with one small map and nothing else: no first chart of a page comes sooner than its (`ui_speed`)."""

import streamlit as st
from plotly.graph_objs import Figure, Heatmap

st.title("One map")
st.plotly_chart(Figure(Heatmap(z=[[(row * column) % 7 for column in range(30)] for row in range(30)])))
