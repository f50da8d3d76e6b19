package org.distilltophone.core;

import static org.junit.Assert.assertEquals;
import static org.junit.Assert.assertTrue;

import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.util.Random;
import org.junit.Test;

public class ExifTest {
    /** A JPEG's beginning: a comment, EXIF with another tag before the orientation, start of the pixels. */
    private static byte[] jpeg(boolean little, int orientation) {
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        bytes(out, 0xFF, 0xD8, 0xFF, 0xFE, 0, 4, 'h', 'i', 0xFF, 0xFF, 0xE1, 0, 2 + 6 + 8 + 2 + 24);
        bytes(out, 'E', 'x', 'i', 'f', 0, 0, little ? 'I' : 'M', little ? 'I' : 'M');
        value(out, 42, 2, little);
        value(out, 8, 4, little);
        value(out, 2, 2, little);
        entry(out, 0x010F, 2, 1, 0, little);
        entry(out, 0x0112, 3, 1, orientation, little);
        bytes(out, 0xFF, 0xDA, 0, 2);
        return out.toByteArray();
    }

    private static void entry(ByteArrayOutputStream out, int tag, int type, int count, int value, boolean little) {
        value(out, tag, 2, little);
        value(out, type, 2, little);
        value(out, count, 4, little);
        value(out, value, 2, little);
        value(out, 0, 2, little);
    }

    private static void value(ByteArrayOutputStream out, int value, int size, boolean little) {
        for (int i = 0; i < size; i++) {
            out.write(value >> 8 * (little ? i : size - 1 - i));
        }
    }

    private static void bytes(ByteArrayOutputStream out, int... values) {
        for (int value : values) {
            out.write(value);
        }
    }

    private static int of(byte[] data) {
        return Exif.orientation(new ByteArrayInputStream(data));
    }

    @Test
    public void bothByteOrders() {
        for (int orientation = 1; orientation <= 8; orientation++) {
            assertEquals(orientation, of(jpeg(true, orientation)));
            assertEquals(orientation, of(jpeg(false, orientation)));
        }
        assertEquals(1, of(jpeg(true, 0)));
        assertEquals(1, of(jpeg(true, 9)));
    }

    @Test
    public void chunksOfPng() {
        byte[] inJpeg = jpeg(false, 6);
        int tiff = 2 + 6 + 3 + 2 + 6; // behind start, comment, marker, length and "Exif"
        ByteArrayOutputStream out = new ByteArrayOutputStream();
        bytes(out, 0x89, 'P', 'N', 'G', 13, 10, 26, 10);
        bytes(out, 0, 0, 0, 2, 'I', 'D', 'A', 'T', 1, 2, 0, 0, 0, 0);
        byte[] start = out.toByteArray();
        int length = inJpeg.length - tiff - 4;
        bytes(out, 0, 0, 0, length, 'e', 'X', 'I', 'f');
        out.write(inJpeg, tiff, length);
        byte[] png = out.toByteArray();
        assertEquals(6, of(png));
        for (int cut = 0; cut < png.length; cut++) {
            int found = of(java.util.Arrays.copyOf(png, cut));
            assertTrue(found == 1 || found == 6);
        }
        out = new ByteArrayOutputStream();
        out.write(start, 0, start.length);
        bytes(out, 0, 0, 0, 0, 'I', 'E', 'N', 'D');
        assertEquals(1, of(out.toByteArray()));
    }

    @Test
    public void whatIsNotAnImageIsUpright() {
        assertEquals(1, of(new byte[0]));
        assertEquals(1, of("\u0089PNG\r\n".getBytes()));
    }

    @Test
    public void damageIsNoNews() {
        Random random = new Random(1);
        byte[] good = jpeg(true, 6);
        for (int length = 0; length < good.length; length++) {
            int found = of(java.util.Arrays.copyOf(good, length));
            assertTrue(found == 1 || found == 6);
        }
        for (int i = 0; i < 20000; i++) {
            byte[] spoilt = good.clone();
            for (int k = random.nextInt(6); k >= 0; k--) {
                spoilt[random.nextInt(spoilt.length)] = (byte) random.nextInt();
            }
            int found = of(spoilt);
            assertTrue(found >= 1 && found <= 8);
        }
    }
}
