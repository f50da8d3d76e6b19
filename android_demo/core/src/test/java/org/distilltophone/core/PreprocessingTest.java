package org.distilltophone.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;

import org.junit.Test;

public class PreprocessingTest {
    @Test
    public void weightsOfTheDocument() {
        ResizePass smaller = new ResizePass(5, 3, 0, 3);
        assertArrayEquals(new int[] {0, 1, 3}, smaller.first);
        int[][] weights = {{2396745, 1797559, 0}, {932068, 2330169, 932068}, {1797559, 2396745}};
        for (int target = 0; target < 3; target++) {
            assertEquals(weights[target].length, smaller.count[target]);
            for (int k = 0; k < weights[target].length; k++) {
                assertEquals(weights[target][k], smaller.weights[target * smaller.longest + k]);
            }
        }
        assertArrayEquals(new byte[] {113, 113, 113, 74, 74, 74, (byte) 147, (byte) 147, (byte) 147},
            across(smaller, 10, 250, 3, 77, 200));
        assertArrayEquals(new byte[] {0, 0, 0, 64, 64, 64, (byte) 191, (byte) 191, (byte) 191, -1, -1, -1},
            across(new ResizePass(2, 4, 0, 4), 0, 255));
    }

    private static byte[] across(ResizePass pass, int... grey) {
        byte[] row = new byte[grey.length * 3];
        for (int i = 0; i < row.length; i++) {
            row[i] = (byte) grey[i / 3];
        }
        byte[] out = new byte[pass.first.length * 3];
        pass.across(row, out, 0);
        return out;
    }

    @Test
    public void transparencyIsLaidOverWhite() {
        assertEquals(0xFFFFFFFF, UprightRows.overWhite(0x00123456));
        assertEquals(0xFF000000, UprightRows.overWhite(0xFF000000) | 0);
        int half = UprightRows.overWhite(0x80000000) & 255;
        assertEquals(127, half);
    }

    @Test
    public void stripsAndBombsAreRefusedBeforeDecoding() {
        assertNull(Preprocessing.refusal(64, 1));
        assertNotNull(Preprocessing.refusal(65, 1));
        assertNotNull(Preprocessing.refusal(0, 4));
        assertNotNull(Preprocessing.refusal(30000, 30000));
    }
}
