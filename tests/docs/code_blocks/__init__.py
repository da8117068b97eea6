"""Every Python block of the pages is executed.

The blocks of a page run in their order and share their names. A page may have blocks that a reader does not see. They
make names before a block, or look at its effect after it::

    <!--- invisible-code-block: python
    assert await answer_of(place_order) == 201
    -->

``<!--- skip: next "reason" -->`` before a block compiles the block only.
"""
