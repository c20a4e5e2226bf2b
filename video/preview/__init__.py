"""The input and the output side by side in a browser, while a run goes on."""
