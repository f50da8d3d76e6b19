package org.distilltophone.core;

import static org.junit.Assert.assertArrayEquals;
import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertNotNull;
import static org.junit.Assert.assertNull;

import java.util.Random;
import org.junit.Test;

public class PreprocessingTest {
    private static Preprocessing of(int input, int resize) {
        return new Preprocessing(input, resize, new double[] {128, 128, 128}, new double[] {128, 128, 128});
    }

    private static Picture noise(int width, int height, long seed) {
        Random random = new Random(seed);
        int[] argb = new int[width * height];
        for (int i = 0; i < argb.length; i++) {
            argb[i] = 0xFF000000 | random.nextInt(1 << 24);
        }
        return new Picture(argb, width, height);
    }

    @Test
    public void weightsOfTheDocument() {
        ResizePass smaller = new ResizePass(5, 3, 0, 3);
        assertArrayEquals(new int[] {0, 1, 3}, smaller.first);
        int[][] weights = {{2396745, 1797559, 0}, {932068, 2330169, 932068}, {1797559, 2396745}};
        for (int target = 0; target < 3; target++) {
            assertEquals(weights[target].length, smaller.count[target]);
            for (int k = 0; k < weights[target].length; k++) {
                assertEquals(weights[target][k], smaller.weight(target, k));
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
    public void picturesThatLieOnTheirSideAreReadUpright() {
        int[][] sizes = {{37, 21}, {21, 37}, {16, 16}, {1, 40}, {100, 3}};
        for (int[] size : sizes) {
            Picture picture = noise(size[0], size[1], 3);
            for (int orientation = 0; orientation <= 9; orientation++) {
                Picture upright = picture.upright(orientation);
                byte[] expected = of(8, 9).pixels(upright.argb, upright.width, upright.height);
                assertArrayEquals("orientation " + orientation, expected, of(8, 9).pixels(picture, orientation));
            }
        }
    }

    @Test
    public void orientationsOfEveryKind() {
        // Numbers as they are read in the upright picture, of the stored picture 1 2 3 / 4 5 6.
        int[][] upright = {
            {1, 2, 3, 4, 5, 6}, {3, 2, 1, 6, 5, 4}, {6, 5, 4, 3, 2, 1}, {4, 5, 6, 1, 2, 3},
            {1, 4, 2, 5, 3, 6}, {4, 1, 5, 2, 6, 3}, {6, 3, 5, 2, 4, 1}, {3, 6, 2, 5, 1, 4},
        };
        for (int orientation = 1; orientation <= 8; orientation++) {
            Picture turned = new Picture(new int[] {1, 2, 3, 4, 5, 6}, 3, 2).upright(orientation);
            assertArrayEquals("orientation " + orientation, upright[orientation - 1], turned.argb);
            assertEquals(orientation < 5 ? 3 : 2, turned.width);
        }
    }

    @Test
    public void pictureOfTheRightSizeIsOnlyCropped() {
        Picture picture = noise(10, 8, 5);
        byte[] pixels = of(8, 8).pixels(picture, 1);
        for (int y = 0, at = 0; y < 8; y++) {
            for (int x = 0; x < 8; x++) {
                int value = picture.argb[y * 10 + x + 1];
                assertEquals((byte) (value >> 16), pixels[at++]);
                assertEquals((byte) (value >> 8), pixels[at++]);
                assertEquals((byte) value, pixels[at++]);
            }
        }
    }

    @Test
    public void rgbBytesAndPixelsAgree() {
        Picture picture = noise(23, 31, 9);
        byte[] rgb = new byte[23 * 31 * 3];
        for (int i = 0; i < picture.argb.length; i++) {
            rgb[3 * i] = (byte) (picture.argb[i] >> 16);
            rgb[3 * i + 1] = (byte) (picture.argb[i] >> 8);
            rgb[3 * i + 2] = (byte) picture.argb[i];
        }
        assertArrayEquals(of(16, 18).pixels(picture, 1), of(16, 18).pixels(rgb, 23, 31));
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

    @Test(expected = IllegalArgumentException.class)
    public void sizesThatDoNotFit() {
        of(8, 8).pixels(new byte[10], 2, 2);
    }
}
