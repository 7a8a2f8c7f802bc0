"""The pictures of the HTML report: SVG text that follows the page's light or dark colours."""
